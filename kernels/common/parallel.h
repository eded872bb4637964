#pragma once

#include <cstdint>
#include <type_traits>

namespace pocketlora {

/// Work on the indices [begin, end).
using RangeFn = void (*)(void* context, int64_t begin, int64_t end);

/// Covers [begin, end) with disjoint calls of `fn`, possibly from several threads, and returns when all have finished.
/// `grain` is the smallest number of indices worth a call; where work is split, at whole grains.
using ParallelBackend = void (*)(int64_t begin, int64_t end, int64_t grain, RangeFn fn, void* context);

/// Installs the process-wide backend; nullptr = serial, the default. Not to be called while a kernel runs.
void set_parallel_backend(ParallelBackend backend);

/// Runs `fn(context, b, e)` over [begin, end) with the installed backend.
void parallel_for_raw(int64_t begin, int64_t end, int64_t grain, RangeFn fn, void* context);

/// Runs `fn(b, e)` over disjoint ranges that cover [begin, end). Kernels partition outputs and never reductions, and an
/// output depends on its index alone: results do not depend on the number of threads.
template <typename Fn>
void parallel_for(int64_t begin, int64_t end, int64_t grain, Fn&& fn) {
  using Plain = typename std::remove_reference<Fn>::type;
  parallel_for_raw(
      begin, end, grain, [](void* context, int64_t b, int64_t e) { (*static_cast<Plain*>(context))(b, e); },
      const_cast<void*>(static_cast<const void*>(&fn)));
}

}  // namespace pocketlora
