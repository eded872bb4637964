#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

#include "adapters/adapter_layout.h"
#include "bundle/bundle.h"
#include "common/result.h"
#include "engine/blob_cache.h"
#include "engine/memory_account.h"
#include "engine/rows_cap.h"
#include "engine/stage_graph.h"

namespace pocketlora {

struct EngineOptions {
  std::string backend = "auto";  ///< of the bundle's programs; "auto" = the first whose delegates are there
  int32_t num_threads = 0;       ///< 0 = the number of cores
  bool verify_base = false;
  pl_weights weights = PL_WEIGHTS_AUTO;
  int64_t memory_limit = 0;        ///< bytes of what the accounts count; 0 = none
  int64_t prefix_cache_bytes = 0;  ///< for rows that sessions share; 0 = off
};

/// An opened bundle: the mapped base, the programs, the accounts. Shared by sessions, trainers and adapters, which keep
/// it alive.
class Engine {
 public:
  static Result<std::shared_ptr<Engine>> open(const std::string& dir, const EngineOptions& options);

  const Manifest& manifest() const { return bundle_.manifest(); }
  const Bundle& bundle() const { return bundle_; }
  const BaseMap& base() const { return bundle_.base(); }
  const std::shared_ptr<const AdapterLayout>& layout() const { return layout_; }
  MemoryAccount& account() { return account_; }
  const MemoryAccount& account() const { return account_; }

  /// Bytes that the runtime may allocate, as its accounts count them; 0 = no limit.
  int64_t memory_limit() const { return options_.memory_limit; }
  /// Threads of the kernels' pool.
  int64_t num_threads() const { return num_threads_; }
  /// Which of the bundle's programs run.
  const std::string& backend() const { return backend_; }
  /// Rows that a training or evaluation pass may have at once; what trainers alive were planned for.
  RowsCap& rows_cap() { return rows_cap_; }
  /// KV rows of prompts that sessions have computed; null when off.
  BlobCache* prefix_cache() const { return prefix_cache_.get(); }

  /// Hashes the base's file as it is now. @return BUNDLE_CORRUPT when it is not what the manifest says.
  Status verify_base() const;

  /// @return BACKEND_MISSING when the bundle has no such program.
  Result<StageGraph*> train_graph();
  Result<StageGraph*> infer_graph();

 private:
  Engine(Bundle bundle, std::string backend, const EngineOptions& options)
      : bundle_(std::move(bundle)), backend_(std::move(backend)), options_(options) {}
  Status open_programs();
  void choose_streaming();

  MemoryAccount account_;  // first: everything below is charged to it
  Bundle bundle_;
  std::string backend_;
  EngineOptions options_;
  int64_t num_threads_ = 1;
  RowsCap rows_cap_;
  std::shared_ptr<const AdapterLayout> layout_;
  std::unique_ptr<StageGraph> train_, infer_;
  std::unique_ptr<BlobCache> prefix_cache_;
};

}  // namespace pocketlora
