// The kernels' 4-bit products behind C functions, for gemm_probe.py. Rows of x and y are contiguous.
#include <algorithm>
#include <thread>
#include <vector>

#include "kernels/common/isa.h"
#include "kernels/common/parallel.h"
#include "kernels/linear4/linear4.h"
#include "kernels/q4/compute.h"

namespace {

using pocketlora::Compute;
using pocketlora::Q4Matrix;

int thread_count = 1;

/// A piece for each thread, the first on the caller's; threads are started anew for each call.
void fork_join(int64_t begin, int64_t end, int64_t grain, pocketlora::RangeFn fn, void* context) {
  const int64_t pieces =
      std::min<int64_t>(thread_count, std::max<int64_t>(1, (end - begin) / std::max<int64_t>(1, grain)));
  const int64_t piece = (end - begin + pieces - 1) / pieces;
  std::vector<std::thread> threads;
  for (int64_t first = begin + piece; first < end; first += piece) {
    threads.emplace_back(fn, context, first, std::min(end, first + piece));
  }
  fn(context, begin, std::min(end, begin + piece));
  for (std::thread& thread : threads) thread.join();
}

Q4Matrix matrix(const uint8_t* tiles, int64_t rows, int64_t cols, int quant, int group) {
  return {tiles, rows, cols, static_cast<pocketlora::Quant>(quant), group};
}

}  // namespace

extern "C" {

/// @return the name of the instruction set in use.
const char* gemm_isa() { return pocketlora::isa_name(pocketlora::active_isa()); }

void gemm_set_threads(int threads) {
  thread_count = threads;
  pocketlora::set_parallel_backend(threads > 1 ? fork_join : nullptr);
}

/// y [n, rows] = x [n, cols] W^T, W [rows, cols].
void gemm_forward(const float* x, int64_t n, const uint8_t* tiles, int64_t rows, int64_t cols, int quant, int group,
                  int compute, float* y) {
  const pocketlora::ComputeScope scope(static_cast<Compute>(compute));
  pocketlora::linear4(x, n, matrix(tiles, rows, cols, quant, group), nullptr, y);
}

/// dx [n, cols] = dy [n, rows] W.
void gemm_backward(const float* dy, int64_t n, const uint8_t* tiles, int64_t rows, int64_t cols, int quant, int group,
                   int compute, float* dx) {
  const pocketlora::ComputeScope scope(static_cast<Compute>(compute));
  pocketlora::linear4_backward(dy, n, matrix(tiles, rows, cols, quant, group), dx);
}

}  // extern "C"
