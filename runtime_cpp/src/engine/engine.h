#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

#include "adapters/adapter_layout.h"
#include "bundle/bundle.h"
#include "common/result.h"
#include "engine/memory_account.h"
#include "engine/stage_graph.h"

namespace pocketlora {

struct EngineOptions {
  std::string backend = "cpu";
  int32_t num_threads = 0;  ///< 0 = the number of cores
  bool verify_base = false;
};

/// An opened bundle: the mapped base, the programs, the accounts. Shared by sessions, trainers and adapters, which keep
/// it alive.
class Engine {
 public:
  static Result<std::shared_ptr<Engine>> open(const std::string& dir, const EngineOptions& options);

  const Manifest& manifest() const { return bundle_.manifest(); }
  const BaseMap& base() const { return bundle_.base(); }
  const std::shared_ptr<const AdapterLayout>& layout() const { return layout_; }
  MemoryAccount& account() { return account_; }
  const MemoryAccount& account() const { return account_; }

  /// @return BACKEND_MISSING when the bundle has no such program.
  Result<StageGraph*> train_graph();
  Result<StageGraph*> infer_graph();

 private:
  Engine(Bundle bundle, std::string backend) : bundle_(std::move(bundle)), backend_(std::move(backend)) {}
  Status open_programs();

  MemoryAccount account_;  // first: everything below is charged to it
  Bundle bundle_;
  std::string backend_;
  std::shared_ptr<const AdapterLayout> layout_;
  std::unique_ptr<StageGraph> train_, infer_;
};

}  // namespace pocketlora
