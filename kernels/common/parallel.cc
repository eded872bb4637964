#include "kernels/common/parallel.h"

#include <atomic>

namespace pocketlora {
namespace {

std::atomic<ParallelBackend> g_backend{nullptr};

}  // namespace

void set_parallel_backend(ParallelBackend backend) { g_backend.store(backend, std::memory_order_release); }

void parallel_for_raw(int64_t begin, int64_t end, int64_t grain, RangeFn fn, void* context) {
  if (begin >= end) return;
  const ParallelBackend backend = g_backend.load(std::memory_order_acquire);
  if (backend == nullptr || end - begin <= grain) {
    fn(context, begin, end);
  } else {
    backend(begin, end, grain, fn, context);
  }
}

}  // namespace pocketlora
