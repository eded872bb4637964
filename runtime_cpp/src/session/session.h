#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "adapters/adapter_set.h"
#include "common/result.h"
#include "common/span.h"
#include "engine/engine.h"
#include "engine/forward_walk.h"
#include "kernels/q4/compute.h"
#include "session/kv_cache.h"
#include "session/prefix_key.h"

namespace pocketlora {

struct SessionOptions {
  int64_t context_length = 0;  ///< KV rows; 0 = the bundle's max_seq_len, or what the memory limit leaves room for
  std::optional<CacheFormat> cache_format = CacheFormat::kFloat32;  ///< none = the memory limit decides
  Compute compute = fastest_compute();                              ///< of the products of few rows
  int64_t rows_per_call = 0;                                        ///< at most; 0 = as many as fit
};

/// A live context: tokens, their KV rows, and the active adapters. Rows are computed lazily: a token appended or a set
/// replaced only marks what is pending, and everything pending is computed when logits are needed or a prefill ends. A
/// failed call leaves the tokens as they were. Rows are a function of the adapters, the tokens and how calls cut them:
/// what is kept or copied is kept or copied a call at a time (docs/sessions.md). For one thread at a time, but for
/// cancel().
class Session {
 public:
  static Result<std::unique_ptr<Session>> create(std::shared_ptr<Engine> engine, const SessionOptions& options);

  /// Replaces the whole set; the next computation redoes all tokens with it, as one prefill.
  Status set_adapters(std::vector<WeightedAdapter> adapters);
  void reset();
  /// Forgets the tokens from `length` on. Rows stay up to the last call that ended there or before; the tokens behind
  /// it are computed again, with those that come. @return INVALID_ARGUMENT for more tokens than there are.
  Status truncate(int64_t length);
  /// A session that goes on as this one would, and shares nothing with it that either can change.
  Result<std::unique_ptr<Session>> fork() const;
  /// Ends the call that runs, or else the next one that computes, with CANCELLED. From any thread and signal handler.
  void cancel() { cancelled_.store(true); }
  /// Tokens whose rows came from the engine's prefix cache.
  int64_t copied_tokens() const { return copied_tokens_; }
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

  /// While the outermost one lives a call runs: a cancel() of that time is not for the next call.
  class Call {
   public:
    explicit Call(Session* session) : session_(session) { ++session_->calls_; }
    ~Call() {
      if (--session_->calls_ == 0) session_->cancelled_.store(false);
    }
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;

   private:
    Session* session_;
  };

 private:
  explicit Session(std::shared_ptr<Engine> engine, KvCache cache)
      : engine_(std::move(engine)), cache_(std::move(cache)) {}
  Status allocate_scratch();
  Status check_tokens(Span<const int64_t> tokens) const;
  void take_back(size_t length);
  void forget_rows();
  void drop_calls(int64_t length);
  Status check_cancelled();
  int64_t next_chunk() const;
  Status compute_pending();
  Status compute_chunk(int64_t rows);
  bool splits_last_layer(int64_t rows) const;
  Status compute_last_layer(const ForwardWalk& walk);
  Status compute_last_row(const ForwardWalk& walk);
  void add_cache(int64_t layer, const int64_t* past, std::vector<InputTensor>* inputs) const;
  void add_new_rows(int64_t layer, int64_t past, int64_t rows, std::vector<OutputTensor>* outputs) const;
  void finish_chunk(int64_t rows);
  bool shares_rows(int64_t rows) const;
  size_t shared_bytes(int64_t rows) const;
  BlobCache::Key key_of_next(int64_t rows) const;
  bool copy_chunk(int64_t rows);
  void share_chunk(int64_t rows);

  std::shared_ptr<Engine> engine_;
  StageGraph* graph_ = nullptr;
  Compute compute_ = Compute::kFloat32;
  KvCache cache_;
  AdapterSet adapters_;
  MemoryCharge adapters_charge_;
  std::vector<int64_t> tokens_;
  int64_t computed_ = 0;       ///< tokens whose KV rows belong to the active set
  std::vector<int64_t> cuts_;  ///< where the calls that computed them ended; the last one is computed_
  BlobCache::Key first_key_{};
  std::vector<BlobCache::Key> keys_;  ///< of the first calls' rows: those that the prefix cache may hold
  int64_t copied_tokens_ = 0;
  std::atomic<bool> cancelled_{false};
  int calls_ = 0;
  ReservedBuffer hidden_[2], rope_, logits_;
  const float* last_hidden_ = nullptr;  ///< last row of the last chunk; null when nothing is computed
  bool logits_valid_ = false;
};

}  // namespace pocketlora
