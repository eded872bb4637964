#pragma once

#include <algorithm>
#include <cstdint>
#include <thread>
#include <vector>

#include "kernels/common/parallel.h"

namespace pocketlora::test {

/** A backend that hands out the smallest ranges it may, last first, to three threads. */
inline void scattered_backend(int64_t begin, int64_t end, int64_t grain, RangeFn fn, void* context) {
  constexpr int64_t kThreads = 3;
  const int64_t chunks = (end - begin + grain - 1) / grain;
  std::vector<std::thread> threads;
  for (int64_t thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([=] {
      for (int64_t chunk = chunks - 1 - thread; chunk >= 0; chunk -= kThreads) {
        fn(context, begin + chunk * grain, std::min(begin + (chunk + 1) * grain, end));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

/** Runs kernels on scattered_backend while it lives. */
struct ScatteredThreads {
  ScatteredThreads() { set_parallel_backend(scattered_backend); }
  ~ScatteredThreads() { set_parallel_backend(nullptr); }
  ScatteredThreads(const ScatteredThreads&) = delete;
  ScatteredThreads& operator=(const ScatteredThreads&) = delete;
};

}  // namespace pocketlora::test
