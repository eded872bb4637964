#include "session/session.h"

#include <algorithm>
#include <utility>

#include "bundle/checked_size.h"
#include "engine/forward_walk.h"

namespace pocketlora {

Result<std::unique_ptr<Session>> Session::create(std::shared_ptr<Engine> engine, int64_t context_length) {
  const Manifest& manifest = engine->manifest();
  const int64_t largest = manifest.limits.max_seq_len;
  if (context_length < 0 || context_length > largest) {
    return error(PL_SEQUENCE_TOO_LONG, "context_length: expected at most the bundle's %lld, found %lld",
                 static_cast<long long>(largest), static_cast<long long>(context_length));
  }
  PL_ASSIGN_OR_RETURN(StageGraph * graph, engine->infer_graph());
  const ModelFacts& model = manifest.model;
  PL_ASSIGN_OR_RETURN(KvCache cache, KvCache::create(model.num_layers, context_length == 0 ? largest : context_length,
                                                     model.num_kv_heads * model.head_dim, &engine->account()));
  std::unique_ptr<Session> session(new Session(std::move(engine), std::move(cache)));
  session->graph_ = graph;
  PL_RETURN_IF_ERROR(session->allocate_scratch());
  PL_RETURN_IF_ERROR(session->set_adapters({}));
  return session;
}

Status Session::allocate_scratch() {
  const Manifest& manifest = engine_->manifest();
  const int64_t rows = manifest.limits.prefill_t_max;
  PL_ASSIGN_OR_RETURN(const size_t hidden_bytes, bytes_of({rows, manifest.model.hidden_size, sizeof(float)}));
  PL_ASSIGN_OR_RETURN(const size_t rope_bytes, bytes_of({rows, manifest.model.head_dim, sizeof(float)}));
  PL_ASSIGN_OR_RETURN(const size_t logits_bytes, bytes_of({manifest.model.vocab_size, sizeof(float)}));
  MemoryAccount* account = &engine_->account();
  for (ReservedBuffer& hidden : hidden_) {
    PL_ASSIGN_OR_RETURN(hidden, ReservedBuffer::reserve(hidden_bytes, account, MemoryPart::kScratch));
  }
  PL_ASSIGN_OR_RETURN(rope_, ReservedBuffer::reserve(rope_bytes, account, MemoryPart::kScratch));
  PL_ASSIGN_OR_RETURN(logits_, ReservedBuffer::reserve(logits_bytes, account, MemoryPart::kScratch));
  return Status();
}

Status Session::set_adapters(std::vector<WeightedAdapter> adapters) {
  PL_ASSIGN_OR_RETURN(adapters_, AdapterSet::combine(engine_->layout(), std::move(adapters)));
  adapters_charge_ = MemoryCharge(&engine_->account(), MemoryPart::kAdapter, adapters_.nbytes());
  computed_ = 0;
  last_hidden_ = nullptr;
  logits_valid_ = false;
  return Status();
}

void Session::reset() {
  tokens_.clear();
  computed_ = 0;
  last_hidden_ = nullptr;
  logits_valid_ = false;
}

Status Session::check_tokens(Span<const int64_t> tokens) const {
  const auto added = static_cast<int64_t>(tokens.size());
  if (added > capacity() - length()) {
    return error(PL_SEQUENCE_TOO_LONG, "the session's context of %lld tokens holds %lld: no room for %lld more",
                 static_cast<long long>(capacity()), static_cast<long long>(length()), static_cast<long long>(added));
  }
  const int64_t vocabulary = engine_->manifest().model.vocab_size;
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] < 0 || tokens[i] >= vocabulary) {
      return error(PL_INVALID_ARGUMENT, "token %zu: expected an id from 0 to %lld, found %lld", i,
                   static_cast<long long>(vocabulary - 1), static_cast<long long>(tokens[i]));
    }
  }
  return Status();
}

Status Session::append(Span<const int64_t> tokens) {
  PL_RETURN_IF_ERROR(check_tokens(tokens));
  tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
  if (!tokens.empty()) logits_valid_ = false;
  return Status();
}

Status Session::prefill(Span<const int64_t> tokens) {
  const size_t before = tokens_.size();
  PL_RETURN_IF_ERROR(append(tokens));
  Status status = compute_pending();
  if (!status.ok()) truncate(before);
  return status;
}

Result<Span<const float>> Session::extend(Span<const int64_t> tokens) {
  const size_t before = tokens_.size();
  PL_RETURN_IF_ERROR(prefill(tokens));
  Result<Span<const float>> values = logits();
  if (!values.ok()) truncate(before);
  return values;
}

/// Takes back the last tokens. The rows that stay were computed from themselves only.
void Session::truncate(size_t length) {
  tokens_.resize(length);
  computed_ = std::min(computed_, this->length());
  last_hidden_ = nullptr;
  logits_valid_ = false;
}

int64_t Session::next_chunk() const {
  const Limits& limits = engine_->manifest().limits;
  const int64_t rows = std::min(length() - computed_, limits.prefill_t_max);
  return rows < limits.prefill_t_min ? 1 : rows;
}

Status Session::compute_pending() {
  while (computed_ < length()) PL_RETURN_IF_ERROR(compute_chunk(next_chunk()));
  return Status();
}

Status Session::compute_chunk(int64_t rows) {
  const ModelFacts& model = engine_->manifest().model;
  const int64_t past = computed_;
  std::vector<int64_t> positions(static_cast<size_t>(rows));
  for (int64_t i = 0; i < rows; ++i) positions[static_cast<size_t>(i)] = past + i;
  const size_t new_bytes = static_cast<size_t>(rows) * cache_.row_bytes();

  ForwardWalk walk;
  walk.graph = graph_;
  walk.role = rows == 1 ? "decode" : "prefill";
  walk.extents = {rows, 1, cache_.capacity(), 0};
  walk.sites = {adapters_.sites(), {}};
  walk.rope = rope_.as<float>();
  walk.rope_bytes = static_cast<size_t>(rows * model.head_dim) * sizeof(float);
  walk.hidden_bytes = static_cast<size_t>(rows * model.hidden_size) * sizeof(float);
  walk.hidden = [this](int64_t layer) { return hidden_[layer % 2].as<float>(); };
  // The op reads rows before `past` only, so the new rows may go straight to their place in the cache.
  walk.extra = [&](int64_t layer, std::vector<InputTensor>* inputs, std::vector<OutputTensor>* outputs) {
    float* keys = cache_.keys(layer);
    float* values = cache_.values(layer);
    inputs->insert(inputs->end(), {{"past", &past}, {"k_cache", keys}, {"v_cache", values}});
    outputs->insert(outputs->end(),
                    {{"k", cache_.at(keys, past), new_bytes}, {"v", cache_.at(values, past), new_bytes}});
  };
  PL_RETURN_IF_ERROR(walk.run({tokens_.data() + past, positions.data()}));
  last_hidden_ = walk.hidden(graph_->num_layers()) + (rows - 1) * model.hidden_size;
  computed_ += rows;
  logits_valid_ = false;
  return Status();
}

Result<Span<const float>> Session::logits() {
  if (tokens_.empty()) return error(PL_INVALID_STATE, "the session holds no tokens, so there is nothing to continue");
  PL_RETURN_IF_ERROR(compute_pending());
  const auto vocabulary = static_cast<size_t>(engine_->manifest().model.vocab_size);
  if (!logits_valid_) {
    if (last_hidden_ == nullptr) {  // a failed call left KV rows but no hidden state: redo the last token
      --computed_;
      PL_RETURN_IF_ERROR(compute_pending());
    }
    Extents extents;
    PL_RETURN_IF_ERROR(graph_->run_head(extents, {{"hidden", last_hidden_}},
                                        {{"logits", logits_.data(), vocabulary * sizeof(float)}}));
    logits_valid_ = true;
  }
  return Span<const float>(logits_.as<float>(), vocabulary);
}

}  // namespace pocketlora
