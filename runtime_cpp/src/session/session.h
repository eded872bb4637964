#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "adapters/adapter_set.h"
#include "common/result.h"
#include "common/span.h"
#include "engine/engine.h"
#include "kernels/q4/compute.h"
#include "session/kv_cache.h"

namespace pocketlora {

struct SessionOptions {
  int64_t context_length = 0;  ///< KV rows; 0 = the bundle's max_seq_len, or what the memory limit leaves room for
  std::optional<CacheFormat> cache_format = CacheFormat::kFloat32;  ///< none = the memory limit decides
  Compute compute = fastest_compute();                              ///< of the products of few rows
};

/// A live context: tokens, their KV rows, and the active adapters. Rows are computed lazily: a token appended or a set
/// replaced only marks what is pending, and everything pending is computed when logits are needed or a prefill ends. A
/// failed call leaves the tokens as they were. For one thread at a time.
class Session {
 public:
  static Result<std::unique_ptr<Session>> create(std::shared_ptr<Engine> engine, const SessionOptions& options);

  /// Replaces the whole set; the next computation redoes all tokens with it, as one prefill.
  Status set_adapters(std::vector<WeightedAdapter> adapters);
  void reset();
  int64_t length() const { return static_cast<int64_t>(tokens_.size()); }
  Span<const int64_t> tokens() const { return tokens_; }
  int64_t capacity() const { return cache_.shape().capacity; }
  const KvCache& cache() const { return cache_; }
  Compute compute() const { return compute_; }
  Engine& engine() const { return *engine_; }

  /// Appends without computing. @return SEQUENCE_TOO_LONG, or INVALID_ARGUMENT for an id outside the vocabulary.
  Status append(Span<const int64_t> tokens);
  /// Computes what is pending. @param tokens to be appended first; on failure they are taken back.
  Status prefill(Span<const int64_t> tokens);
  /// prefill(), then logits(). On failure of either the tokens are taken back.
  Result<Span<const float>> extend(Span<const int64_t> tokens);
  /// Logits [vocab_size] of the last token, computing what is pending; valid until the session changes.
  /// @return INVALID_STATE for an empty session.
  Result<Span<const float>> logits();

 private:
  explicit Session(std::shared_ptr<Engine> engine, KvCache cache)
      : engine_(std::move(engine)), cache_(std::move(cache)) {}
  Status allocate_scratch();
  Status check_tokens(Span<const int64_t> tokens) const;
  void truncate(size_t length);
  void forget_rows();
  int64_t next_chunk() const;
  Status compute_pending();
  Status compute_chunk(int64_t rows);

  std::shared_ptr<Engine> engine_;
  StageGraph* graph_ = nullptr;
  Compute compute_ = Compute::kFloat32;
  KvCache cache_;
  AdapterSet adapters_;
  MemoryCharge adapters_charge_;
  std::vector<int64_t> tokens_;
  int64_t computed_ = 0;  ///< tokens whose KV rows belong to the active set
  ReservedBuffer hidden_[2], rope_, logits_;
  const float* last_hidden_ = nullptr;  ///< last row of the last chunk; null when nothing is computed
  bool logits_valid_ = false;
};

}  // namespace pocketlora
