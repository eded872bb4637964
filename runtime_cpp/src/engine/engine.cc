#include "engine/engine.h"

#include <executorch/runtime/platform/runtime.h>
#include <malloc.h>

#include <utility>

#include "engine/backends.h"
#include "engine/executorch_log.h"
#include "engine/system_memory.h"
#include "kernels/common/scratch.h"
#include "kernels/executorch/parallel_backend.h"
#include "kernels/executorch/register.h"
#include "store/sha256.h"

namespace pocketlora {
namespace {

/// Registers the kernels once per process and sets the size of the thread pool that all engines share.
/// @return the number of threads that may take part in a kernel.
Result<int64_t> prepare_process(int32_t num_threads) {
  const ExecutorchLog log;
  static std::once_flag once;
  static bool registered = false;
  std::call_once(once, [] {
    executorch::runtime::runtime_init();
    registered = register_pocketlora_ops();
    share_delegate_memory();
  });
  if (!registered) {
    return error(PL_INTERNAL, "the kernels could not be registered with ExecuTorch: %s", log.errors().c_str());
  }
  const int64_t threads = use_executorch_threadpool(num_threads);
  set_delegate_threads(threads);
  return threads;
}

/// Gives the system what was freed: parsing a manifest leaves megabytes that a heap keeps for later.
void release_free_heap() {
#if defined(__GLIBC__)
  ::malloc_trim(0);
#elif defined(__ANDROID__) && defined(M_PURGE)
  ::mallopt(M_PURGE, 0);
#endif
}

Status check_options(const EngineOptions& options) {
  ProblemList problems;
  if (options.num_threads < 0) {
    problems.addf("num_threads: expected 0 or more, found %d", static_cast<int>(options.num_threads));
  }
  if (options.weights < PL_WEIGHTS_AUTO || options.weights > PL_WEIGHTS_STREAM) {
    problems.addf("weights: expected a pl_weights, found %d", static_cast<int>(options.weights));
  }
  if (options.memory_limit < 0) {
    problems.addf("memory_limit: expected 0 or more bytes, found %lld", static_cast<long long>(options.memory_limit));
  }
  const int64_t cache = options.prefix_cache_bytes;
  if (cache < 0 || (options.memory_limit > 0 && cache >= options.memory_limit)) {
    const std::string below = options.memory_limit > 0 ? format(", below the memory limit of %lld",
                                                                static_cast<long long>(options.memory_limit))
                                                       : "";
    problems.addf("prefix_cache_bytes: expected 0 or more%s, found %lld", below.c_str(), static_cast<long long>(cache));
  }
  return problems.to_status(PL_INVALID_ARGUMENT, "engine options:");
}

}  // namespace

Result<std::shared_ptr<Engine>> Engine::open(const std::string& dir, const EngineOptions& options) {
  PL_RETURN_IF_ERROR(check_options(options));
  PL_ASSIGN_OR_RETURN(Bundle bundle, Bundle::open(dir, {options.verify_base}));
  PL_ASSIGN_OR_RETURN(const std::string backend,
                      choose_backend(bundle.manifest(), dir, options.backend, available_delegates()));
  PL_ASSIGN_OR_RETURN(const int64_t threads, prepare_process(options.num_threads));
  std::shared_ptr<Engine> engine(new Engine(std::move(bundle), backend, options));
  engine->num_threads_ = threads;
  engine->layout_ = std::make_shared<const AdapterLayout>(engine->manifest().adapter);
  PL_RETURN_IF_ERROR(engine->open_programs());
  if (options.prefix_cache_bytes > 0) {
    PL_ASSIGN_OR_RETURN(engine->prefix_cache_,
                        BlobCache::create(options.prefix_cache_bytes, &engine->account_, MemoryPart::kKvCache));
  }
  engine->choose_streaming();
  scratch_reset_peak();  // what earlier engines needed is not this one's
  release_free_heap();
  return engine;
}

Status Engine::verify_base() const {
  const std::string path = bundle_.path(manifest().base_file);
  PL_ASSIGN_OR_RETURN(const std::string found, sha256_file(path, PL_BUNDLE_MISSING_FILE));
  if (found == layout_->base_sha256) return Status();
  return error(PL_BUNDLE_CORRUPT, "%s: expected SHA-256 %s, found %s", path.c_str(), layout_->base_sha256.c_str(),
               found.c_str());
}

void Engine::choose_streaming() {
  const bool always = options_.weights == PL_WEIGHTS_STREAM;
  if (infer_ != nullptr && always) infer_->stream_weights();
  if (train_ == nullptr || options_.weights == PL_WEIGHTS_KEEP) return;
  // Beside the base there is what training allocates: the limit, or without one the arena and the blocks' inputs.
  const ModelFacts& model = manifest().model;
  const double states = static_cast<double>(model.num_layers + 1) * static_cast<double>(manifest().limits.train_t_max);
  const double inputs = states * static_cast<double>(model.hidden_size) * sizeof(float);
  const double budget = options_.memory_limit > 0 ? static_cast<double>(options_.memory_limit)
                                                  : inputs + static_cast<double>(train_->arena_bytes());
  const double needed = static_cast<double>(base().file().size()) + budget;
  if (always || needed > static_cast<double>(available_memory())) train_->stream_weights();
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
