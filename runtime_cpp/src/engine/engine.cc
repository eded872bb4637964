#include "engine/engine.h"

#include <executorch/runtime/platform/runtime.h>

#include <utility>

#include "engine/executorch_log.h"
#include "kernels/executorch/parallel_backend.h"
#include "kernels/executorch/register.h"

namespace pocketlora {
namespace {

/// Registers the kernels once per process and sets the size of the thread pool that all engines share.
Status prepare_process(int32_t num_threads) {
  const ExecutorchLog log;
  static std::once_flag once;
  static bool registered = false;
  std::call_once(once, [] {
    executorch::runtime::runtime_init();
    registered = register_pocketlora_ops();
  });
  if (!registered) {
    return error(PL_INTERNAL, "the kernels could not be registered with ExecuTorch: %s", log.errors().c_str());
  }
  use_executorch_threadpool(num_threads);
  return Status();
}

Status check_backend(const Manifest& manifest, const std::string& dir, const std::string& backend) {
  std::string known;
  for (const ProgramSpec& program : manifest.programs) {
    if (program.backend == backend) return Status();
    if (known.find(program.backend) == std::string::npos) known += (known.empty() ? "" : ", ") + program.backend;
  }
  return error(PL_BACKEND_MISSING, "bundle '%s' has no programs for backend '%s': it has %s", dir.c_str(),
               backend.c_str(), known.empty() ? "none" : known.c_str());
}

}  // namespace

Result<std::shared_ptr<Engine>> Engine::open(const std::string& dir, const EngineOptions& options) {
  if (options.num_threads < 0) {
    return error(PL_INVALID_ARGUMENT, "num_threads: expected 0 or more, found %d",
                 static_cast<int>(options.num_threads));
  }
  PL_ASSIGN_OR_RETURN(Bundle bundle, Bundle::open(dir, {options.verify_base}));
  PL_RETURN_IF_ERROR(check_backend(bundle.manifest(), dir, options.backend));
  PL_RETURN_IF_ERROR(prepare_process(options.num_threads));
  std::shared_ptr<Engine> engine(new Engine(std::move(bundle), options.backend));
  engine->layout_ = std::make_shared<const AdapterLayout>(engine->manifest().adapter);
  PL_RETURN_IF_ERROR(engine->open_programs());
  return engine;
}

Status Engine::open_programs() {
  for (const ProgramSpec& program : manifest().programs) {
    if (program.backend != backend_) continue;
    std::unique_ptr<StageGraph>* graph = program.kind == "train"   ? &train_
                                         : program.kind == "infer" ? &infer_
                                                                   : nullptr;
    if (graph == nullptr) continue;
    PL_ASSIGN_OR_RETURN(*graph, StageGraph::open(bundle_, backend_, program.kind, &account_));
  }
  return Status();
}

Result<StageGraph*> Engine::train_graph() {
  if (train_ == nullptr)
    return error(PL_BACKEND_MISSING, "the bundle has no training program for '%s'", backend_.c_str());
  return train_.get();
}

Result<StageGraph*> Engine::infer_graph() {
  if (infer_ == nullptr) {
    return error(PL_BACKEND_MISSING, "the bundle has no inference program for '%s'", backend_.c_str());
  }
  return infer_.get();
}

}  // namespace pocketlora
