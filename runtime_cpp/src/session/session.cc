#include "session/session.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "bundle/checked_size.h"
#include "engine/forward_walk.h"
#include "kernels/common/scratch.h"
#include "session/session_plan.h"

namespace pocketlora {

namespace {

Status check_options(const Manifest& manifest, const SessionOptions& options) {
  const int64_t largest = manifest.limits.max_seq_len;
  if (options.context_length < 0 || options.context_length > largest) {
    return error(PL_SEQUENCE_TOO_LONG, "context_length: expected at most the bundle's %lld, found %lld",
                 static_cast<long long>(largest), static_cast<long long>(options.context_length));
  }
  if (!options.cache_format.has_value()) return Status();
  const int64_t dim = manifest.model.head_dim;
  const CacheFormat wanted = *options.cache_format;
  CacheFormat told{};
  if (!cache_format_of(cache_head_bytes(wanted, dim), dim, &told) || told != wanted) {
    return error(PL_INVALID_ARGUMENT, "cache_dtype: %s rows of heads of %lld values look like %s: choose that one",
                 cache_format_name(wanted), static_cast<long long>(dim), cache_format_name(told));
  }
  return Status();
}

/// Under a memory limit the program's methods are loaded, so that they count.
Result<SessionNeeds> present_needs(Engine* engine, StageGraph* graph) {
  if (engine->memory_limit() > 0) PL_RETURN_IF_ERROR(graph->load_all());
  const Manifest& manifest = engine->manifest();
  const MemoryAccount::Totals promised = engine->account().committed();
  SessionNeeds needs;
  needs.costs = manifest.memory.infer_rows;
  needs.num_threads = engine->num_threads();
  needs.held = std::accumulate(promised.begin(), promised.end(), int64_t{0});
  needs.arena_present = graph->arena_resident();
  needs.kernel_scratch_present = scratch_bytes_in_use();
  needs.largest.capacity = manifest.limits.max_seq_len;
  needs.largest.num_heads = manifest.model.num_kv_heads;
  needs.largest.head_dim = manifest.model.head_dim;
  needs.largest.windows = graph->windows();
  return needs;
}

}  // namespace

Result<std::unique_ptr<Session>> Session::create(std::shared_ptr<Engine> engine, const SessionOptions& options) {
  const Manifest& manifest = engine->manifest();
  PL_RETURN_IF_ERROR(check_options(manifest, options));
  PL_ASSIGN_OR_RETURN(StageGraph * graph, engine->infer_graph());
  PL_ASSIGN_OR_RETURN(const SessionNeeds needs, present_needs(engine.get(), graph));
  PL_ASSIGN_OR_RETURN(const SessionPlan plan,
                      plan_session(needs, {engine->memory_limit(), options.context_length, options.cache_format}));
  PL_ASSIGN_OR_RETURN(KvCache cache, KvCache::create(plan.cache, &engine->account()));
  std::unique_ptr<Session> session(new Session(std::move(engine), std::move(cache)));
  session->graph_ = graph;
  session->compute_ = options.compute;
  PL_RETURN_IF_ERROR(session->allocate_scratch());
  PL_RETURN_IF_ERROR(session->set_adapters({}));
  return session;
}

Status Session::allocate_scratch() {
  const Manifest& manifest = engine_->manifest();
  const int64_t rows = cache_.shape().largest_write;
  PL_ASSIGN_OR_RETURN(const size_t hidden_bytes, bytes_of({rows, manifest.model.hidden_size, sizeof(float)}));
  PL_ASSIGN_OR_RETURN(const size_t rope_bytes, bytes_of({rows, manifest.model.rope_width(), sizeof(float)}));
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
  forget_rows();
  return Status();
}

void Session::reset() {
  tokens_.clear();
  forget_rows();
  cache_.truncate(0);
}

/// The tokens stay; all of their rows are to be computed again.
void Session::forget_rows() {
  computed_ = 0;
  cache_.rewind();
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

/// Takes back the last tokens. The rows that stay were computed from themselves only; where a window has moved on too
/// far to come back, all are computed again.
void Session::truncate(size_t length) {
  tokens_.resize(length);
  cache_.truncate(this->length());
  if (computed_ > this->length() && !cache_.holds_context_of(std::max<int64_t>(this->length() - 1, 0))) forget_rows();
  computed_ = std::min(computed_, this->length());
  last_hidden_ = nullptr;
  logits_valid_ = false;
}

int64_t Session::next_chunk() const {
  const Limits& limits = engine_->manifest().limits;
  const int64_t rows = std::min(length() - computed_, cache_.shape().largest_write);
  return rows < limits.prefill_t_min ? 1 : rows;
}

Status Session::compute_pending() {
  while (computed_ < length()) PL_RETURN_IF_ERROR(compute_chunk(next_chunk()));
  return Status();
}

Status Session::compute_chunk(int64_t rows) {
  const ComputeScope scope(compute_);
  const ModelFacts& model = engine_->manifest().model;
  const int64_t past = computed_;
  std::vector<int64_t> positions(static_cast<size_t>(rows));
  for (int64_t i = 0; i < rows; ++i) positions[static_cast<size_t>(i)] = past + i;
  const size_t new_bytes = cache_.new_rows_bytes(rows);

  ForwardWalk walk;
  walk.graph = graph_;
  walk.role = rows == 1 ? "decode" : "prefill";
  walk.extents.rows = rows;
  walk.extents.cache = capacity();
  walk.extents.cache_row_bytes = cache_.shape().row_bytes();
  walk.sites = {adapters_.sites(), {}};
  walk.rope = {&model, rope_.as<float>(), rows};
  walk.hidden_bytes = static_cast<size_t>(rows * model.hidden_size) * sizeof(float);
  walk.hidden = [this](int64_t layer) { return hidden_[layer % 2].as<float>(); };
  // The op reads rows before `past` only, so new fp32 rows may go straight to their place in the cache.
  walk.extra = [&](int64_t layer, std::vector<InputTensor>* inputs, std::vector<OutputTensor>* outputs) {
    inputs->insert(inputs->end(),
                   {{"past", &past}, {"k_cache", cache_.keys(layer)}, {"v_cache", cache_.values(layer)}});
    outputs->insert(outputs->end(),
                    {{"k", cache_.new_keys(layer, past), new_bytes}, {"v", cache_.new_values(layer, past), new_bytes}});
  };
  walk.after_block = [&](int64_t layer) { cache_.store(layer, past, rows); };
  PL_RETURN_IF_ERROR(walk.run({tokens_.data() + past, positions.data()}));
  last_hidden_ = walk.hidden(graph_->num_layers()) + (rows - 1) * model.hidden_size;
  computed_ += rows;
  cache_.release_unseen(computed_);
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
    const ComputeScope scope(compute_);
    PL_RETURN_IF_ERROR(graph_->run_head(extents, {{"hidden", last_hidden_}},
                                        {{"logits", logits_.data(), vocabulary * sizeof(float)}}));
    logits_valid_ = true;
  }
  return Span<const float>(logits_.as<float>(), vocabulary);
}

}  // namespace pocketlora
