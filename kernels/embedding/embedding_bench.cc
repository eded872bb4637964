#include "kernels/common/bench_support.h"
#include "kernels/embedding/embedding.h"

namespace pocketlora {
namespace {

/// Arguments: tokens, columns.
void run(benchmark::State& state, Isa isa, EmbeddingKernel kernel) {
  if (bench::skip(state, isa)) return;
  const int64_t count = state.range(0), cols = state.range(1);
  const bench::RandomMatrix w(4096, cols, Quant::kNf4, 64);
  std::vector<int64_t> tokens;
  for (int64_t i = 0; i < count; ++i) tokens.push_back(i * 997 % 4096);
  std::vector<float> out(static_cast<size_t>(count * cols));
  for (auto _ : state) {
    kernel(tokens.data(), count, w.matrix(), out.data());
    benchmark::ClobberMemory();
  }
  bench::count(state, static_cast<double>(count * cols), static_cast<double>(count * cols) / 2);
}

#define PL_KERNEL(isa, function) BENCHMARK_CAPTURE(run, function, Isa::isa, function)->Args({128, 2048});
#include "kernels/embedding/kernels.inc"
#undef PL_KERNEL

}  // namespace
}  // namespace pocketlora
