#include "session/session.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <utility>

#include "bundle/checked_size.h"
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
  needs.costs = graph->program().memory_rows;
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
  PL_ASSIGN_OR_RETURN(const SessionPlan plan, plan_session(needs, {engine->memory_limit(), options.context_length,
                                                                   options.cache_format, options.rows_per_call}));
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
  first_key_ = first_prefix_key(adapters_, cache_.shape().format, compute_);
  forget_rows();
  return Status();
}

Result<std::unique_ptr<Session>> Session::fork() const {
  const KvCacheShape& shape = cache_.shape();
  PL_ASSIGN_OR_RETURN(std::unique_ptr<Session> copy,
                      create(engine_, {shape.capacity, shape.format, compute_, shape.largest_write}));
  PL_RETURN_IF_ERROR(copy->set_adapters(adapters_.adapters()));
  copy->tokens_ = tokens_;
  copy->computed_ = computed_;
  copy->cuts_ = cuts_;
  copy->keys_ = keys_;
  copy->cache_.copy_from(cache_, computed_);
  const ModelFacts& model = engine_->manifest().model;
  if (last_hidden_ != nullptr) {
    float* const hidden = copy->hidden_[0].as<float>();
    std::copy_n(last_hidden_, model.hidden_size, hidden);
    copy->last_hidden_ = hidden;
  }
  return copy;
}

void Session::reset() {
  tokens_.clear();
  forget_rows();
  cache_.truncate(0);
}

/// The tokens stay; all of their rows are to be computed again.
void Session::forget_rows() {
  computed_ = 0;
  cuts_.clear();
  keys_.clear();
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
  const Call call(this);
  const size_t before = tokens_.size();
  PL_RETURN_IF_ERROR(append(tokens));
  Status status = compute_pending();
  if (!status.ok()) take_back(before);
  return status;
}

Result<Span<const float>> Session::extend(Span<const int64_t> tokens) {
  const Call call(this);
  const size_t before = tokens_.size();
  PL_RETURN_IF_ERROR(prefill(tokens));
  Result<Span<const float>> values = logits();
  if (!values.ok()) take_back(before);
  return values;
}

Status Session::truncate(int64_t length) {
  if (length < 0 || length > this->length()) {
    return error(PL_INVALID_ARGUMENT, "length: expected 0 to the session's %lld tokens, found %lld",
                 static_cast<long long>(this->length()), static_cast<long long>(length));
  }
  if (length < this->length()) take_back(static_cast<size_t>(length));
  return Status();
}

/// Takes back the last tokens, and the rows that do not depend on what stays alone.
void Session::take_back(size_t length) {
  tokens_.resize(length);
  drop_calls(this->length());
  cache_.truncate(computed_);
  logits_valid_ = false;
}

/// Forgets the rows of calls that ended beyond `length`; where a window has moved on too far to come back, all rows.
void Session::drop_calls(int64_t length) {
  if (computed_ <= length) return;
  while (!cuts_.empty() && cuts_.back() > length) cuts_.pop_back();
  keys_.resize(std::min(keys_.size(), cuts_.size()));
  computed_ = cuts_.empty() ? 0 : cuts_.back();
  last_hidden_ = nullptr;
  logits_valid_ = false;
  if (computed_ == 0 || !cache_.holds_context_of(computed_)) forget_rows();
}

int64_t Session::next_chunk() const {
  const Limits& limits = engine_->manifest().limits;
  const int64_t rows = std::min(length() - computed_, cache_.shape().largest_write);
  return rows < limits.prefill_t_min ? 1 : rows;
}

Status Session::compute_pending() {
  while (computed_ < length()) {
    PL_RETURN_IF_ERROR(check_cancelled());
    const int64_t rows = next_chunk();
    if (!copy_chunk(rows)) PL_RETURN_IF_ERROR(compute_chunk(rows));
  }
  return Status();
}

Status Session::check_cancelled() {
  return cancelled_.exchange(false) ? error(PL_CANCELLED, "the session's call was cancelled") : Status();
}

/// Whether the next rows may come from the prefix cache, or go there: every call before was one of those, too. Single
/// tokens are those of generation, which nobody else starts with.
bool Session::shares_rows(int64_t rows) const {
  return engine_->prefix_cache() != nullptr && rows > 1 && keys_.size() == cuts_.size();
}

/// The rows, and the last one's hidden state.
size_t Session::shared_bytes(int64_t rows) const {
  return cache_.rows_bytes(rows) + static_cast<size_t>(engine_->manifest().model.hidden_size) * sizeof(float);
}

BlobCache::Key Session::key_of_next(int64_t rows) const {
  const Span<const int64_t> tokens(tokens_.data() + computed_, static_cast<size_t>(rows));
  return next_prefix_key(keys_.empty() ? first_key_ : keys_.back(), tokens);
}

/// Takes the next rows from the prefix cache. @return false when it has none that a call would compute just so.
bool Session::copy_chunk(int64_t rows) {
  if (!shares_rows(rows)) return false;
  const BlobCache::Key key = key_of_next(rows);
  const size_t hidden_bytes = shared_bytes(rows) - cache_.rows_bytes(rows);
  float* const hidden = hidden_[0].as<float>();
  const bool found = engine_->prefix_cache()->get(key, shared_bytes(rows), [&](const uint8_t* data) {
    cache_.write_rows(computed_, rows, data);
    std::memcpy(hidden, data + cache_.rows_bytes(rows), hidden_bytes);
  });
  if (!found) return false;
  // What is needed to come here again stays as long as this does.
  for (auto before = keys_.rbegin(); before != keys_.rend(); ++before) engine_->prefix_cache()->touch(*before);
  keys_.push_back(key);
  last_hidden_ = hidden;
  copied_tokens_ += rows;
  finish_chunk(rows);
  return true;
}

/// Gives the rows that were just computed to the prefix cache.
void Session::share_chunk(int64_t rows) {
  if (!shares_rows(rows)) return;
  keys_.push_back(key_of_next(rows));
  const size_t hidden_bytes = shared_bytes(rows) - cache_.rows_bytes(rows);
  engine_->prefix_cache()->put(keys_.back(), shared_bytes(rows), [&](uint8_t* data) {
    cache_.read_rows(computed_, rows, data);
    std::memcpy(data + cache_.rows_bytes(rows), last_hidden_, hidden_bytes);
  });
  for (auto key = keys_.rbegin(); key != keys_.rend(); ++key) engine_->prefix_cache()->touch(*key);
}

/// The next rows are there.
void Session::finish_chunk(int64_t rows) {
  computed_ += rows;
  cuts_.push_back(computed_);
  cache_.release_unseen(computed_);
  logits_valid_ = false;
}

/// Where a layer's new rows go. Blocks read those before `past` only, so new fp32 rows may go straight to their place
/// in the cache.
void Session::add_new_rows(int64_t layer, int64_t past, int64_t rows, std::vector<OutputTensor>* outputs) const {
  const size_t bytes = cache_.new_rows_bytes(rows);
  outputs->insert(outputs->end(),
                  {{"k", cache_.new_keys(layer, past), bytes}, {"v", cache_.new_values(layer, past), bytes}});
}

void Session::add_cache(int64_t layer, const int64_t* past, std::vector<InputTensor>* inputs) const {
  inputs->insert(inputs->end(), {{"past", past}, {"k_cache", cache_.keys(layer)}, {"v_cache", cache_.values(layer)}});
}

/// Whether of the last layer only the last row is computed whole: logits come of it alone.
bool Session::splits_last_layer(int64_t rows) const {
  return rows > engine_->manifest().limits.prefill_t_min && graph_->has_role(graph_->num_layers() - 1, "keys");
}

Status Session::compute_chunk(int64_t rows) {
  const ComputeScope scope(compute_);
  const ModelFacts& model = engine_->manifest().model;
  const int64_t past = computed_;
  std::vector<int64_t> positions(static_cast<size_t>(rows));
  std::iota(positions.begin(), positions.end(), past);
  const bool splits = splits_last_layer(rows);
  last_hidden_ = nullptr;  // lies where the blocks write

  ForwardWalk walk;
  walk.graph = graph_;
  walk.num_layers = graph_->num_layers() - (splits ? 1 : 0);
  walk.role = rows == 1 ? "decode" : "prefill";
  walk.extents.rows = rows;
  walk.extents.cache = capacity();
  walk.extents.cache_row_bytes = cache_.shape().row_bytes();
  walk.sites = {adapters_.sites(), {}};
  walk.rope = {&model, rope_.as<float>(), rows};
  walk.hidden_bytes = static_cast<size_t>(rows * model.hidden_size) * sizeof(float);
  walk.hidden = [this](int64_t layer) { return hidden_[layer % 2].as<float>(); };
  walk.extra = [&](int64_t layer, std::vector<InputTensor>* inputs, std::vector<OutputTensor>* outputs) {
    add_cache(layer, &past, inputs);
    add_new_rows(layer, past, rows, outputs);
  };
  walk.before_block = [this](int64_t) { return check_cancelled(); };
  walk.after_block = [&](int64_t layer) { cache_.store(layer, past, rows); };
  PL_RETURN_IF_ERROR(walk.run({tokens_.data() + past, positions.data()}));
  if (splits) PL_RETURN_IF_ERROR(compute_last_layer(walk));
  last_hidden_ = walk.hidden(graph_->num_layers()) + (splits ? 0 : rows - 1) * model.hidden_size;
  share_chunk(rows);
  finish_chunk(rows);
  return Status();
}

/// Of all rows but the last one their keys and values, then the last one.
Status Session::compute_last_layer(const ForwardWalk& walk) {
  const int64_t layer = walk.num_layers;
  Extents extents = walk.extents;
  extents.rows -= 1;
  std::vector<InputTensor> inputs = {{"hidden", walk.hidden(layer)}};
  walk.rope.add_inputs(&inputs);
  std::vector<OutputTensor> outputs;
  add_new_rows(layer, computed_, extents.rows, &outputs);
  PL_RETURN_IF_ERROR(check_cancelled());
  PL_RETURN_IF_ERROR(graph_->run_block(layer, "keys", extents, walk.sites, inputs, outputs));
  cache_.store(layer, computed_, extents.rows);
  return compute_last_row(walk);
}

Status Session::compute_last_row(const ForwardWalk& walk) {
  const int64_t layer = walk.num_layers, row = walk.extents.rows - 1, past = computed_ + row;
  const int64_t width = engine_->manifest().model.hidden_size;
  Extents extents = walk.extents;
  extents.rows = 1;
  std::vector<InputTensor> inputs = {{"hidden", walk.hidden(layer) + row * width}};
  walk.rope.add_inputs(&inputs, row);
  add_cache(layer, &past, &inputs);
  std::vector<OutputTensor> outputs = {{"hidden", walk.hidden(layer + 1), static_cast<size_t>(width) * sizeof(float)}};
  add_new_rows(layer, past, 1, &outputs);
  PL_RETURN_IF_ERROR(graph_->run_block(layer, "decode", extents, walk.sites, inputs, outputs));
  cache_.store(layer, past, 1);
  return Status();
}

Result<Span<const float>> Session::logits() {
  if (tokens_.empty()) return error(PL_INVALID_STATE, "the session holds no tokens, so there is nothing to continue");
  const Call call(this);
  PL_RETURN_IF_ERROR(compute_pending());
  const auto vocabulary = static_cast<size_t>(engine_->manifest().model.vocab_size);
  if (!logits_valid_) {
    if (last_hidden_ == nullptr) {  // a truncation or a failed call left rows but no hidden state: redo the last call
      drop_calls(computed_ - 1);
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
