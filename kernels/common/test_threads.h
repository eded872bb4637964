#pragma once

#include <algorithm>
#include <cstdint>
#include <thread>
#include <vector>

#include "kernels/common/parallel.h"

namespace pocketlora::test {

/** A backend that hands out the smallest ranges it may, every second one index longer, last first, to three threads. */
inline void scattered_backend(int64_t begin, int64_t end, int64_t grain, RangeFn fn, void* context) {
  constexpr size_t kThreads = 3;
  std::vector<int64_t> bounds{begin};
  while (bounds.back() < end) {
    bounds.push_back(std::min(end, bounds.back() + grain + static_cast<int64_t>(bounds.size() % 2)));
  }
  std::vector<std::thread> threads;
  for (size_t thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      for (size_t past = thread + 1; past < bounds.size(); past += kThreads) {
        const size_t chunk = bounds.size() - past;
        fn(context, bounds[chunk - 1], bounds[chunk]);
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
