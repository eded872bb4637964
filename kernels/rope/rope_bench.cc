#include "kernels/common/bench_support.h"
#include "kernels/rope/rope.h"

namespace pocketlora {
namespace {

void rotate(benchmark::State& state, Isa isa, RopeKernel kernel) {
  if (bench::skip(state, isa)) return;
  const RopeShape shape{128, state.range(0), state.range(1), state.range(1)};
  const int64_t n = shape.n_rows * shape.num_heads * shape.head_dim;
  const auto x = bench::random_floats(n, 1), table = bench::random_floats(shape.n_rows * shape.rotary_dim, 2);
  std::vector<float> y(x.size());
  for (auto _ : state) {
    kernel(x.data(), table.data(), shape, false, y.data());
    benchmark::ClobberMemory();
  }
  bench::count(state, 3.0 * static_cast<double>(n), 8.0 * static_cast<double>(n));
}

#define PL_KERNEL(isa, function)                          \
  BENCHMARK_CAPTURE(rotate, function, Isa::isa, function) \
      ->ArgNames({"heads", "head_dim"})                   \
      ->Args({9, 64})                                     \
      ->Args({32, 64});
#include "kernels/rope/kernels.inc"
#undef PL_KERNEL

}  // namespace
}  // namespace pocketlora
