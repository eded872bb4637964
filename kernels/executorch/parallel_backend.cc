#include "kernels/executorch/parallel_backend.h"

#include <executorch/runtime/kernel/thread_parallel_interface.h>

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "kernels/common/parallel.h"

namespace pocketlora {
namespace {

#ifdef ET_USE_THREADPOOL

// Chunks per thread: enough that a phone's slow cores do not hold up the fast ones.
constexpr int64_t kChunksPerThread = 16;

std::atomic<int64_t> g_num_threads{1};
thread_local bool t_inside = false;

struct Work {
  int64_t begin, end, chunk;
  RangeFn fn;
  void* context;
  std::atomic<int64_t> next;
};

/** Takes chunks until none is left. */
void drain(Work& work) {
  t_inside = true;
  for (int64_t at; (at = work.next.fetch_add(work.chunk)) < work.end;) {
    work.fn(work.context, at, std::min(at + work.chunk, work.end));
  }
  t_inside = false;
}

void run_on_pool(int64_t begin, int64_t end, int64_t grain, RangeFn fn, void* context) {
  const int64_t threads = g_num_threads.load(), count = end - begin;
  const int64_t least = (count + threads * kChunksPerThread - 1) / (threads * kChunksPerThread);
  // Whole grains: a kernel's blocks are of that many, and what a chunk leaves over would be a small one.
  const int64_t chunk = (least + grain - 1) / grain * grain;
  const int64_t workers = std::min(threads, (count + chunk - 1) / chunk);
  if (workers < 2 || t_inside) {  // the pool does not nest
    fn(context, begin, end);
    return;
  }
  Work work{begin, end, chunk, fn, context, {begin}};
  const bool ran = executorch::extension::parallel_for(0, workers, 1, [&](int64_t first, int64_t last) {
    for (int64_t worker = first; worker < last; ++worker) drain(work);
  });
  if (!ran) drain(work);
}

#endif  // ET_USE_THREADPOOL

}  // namespace

int use_executorch_threadpool(int num_threads) {
#ifdef ET_USE_THREADPOOL
  const int64_t pool = executorch::extension::get_thread_count();
  const int64_t threads = num_threads > 0 ? std::min<int64_t>(num_threads, pool) : pool;
  g_num_threads.store(threads);
  set_parallel_backend(threads > 1 ? run_on_pool : nullptr);
  return static_cast<int>(threads > 1 ? pool : 1);
#else
  (void)num_threads;
  set_parallel_backend(nullptr);
  return 1;
#endif
}

}  // namespace pocketlora
