#include "kernels/common/bench_support.h"
#include "kernels/layer_norm/layer_norm.h"

namespace pocketlora {
namespace {

constexpr int64_t kRows = 128;

void forward(benchmark::State& state, Isa isa, LayerNormKernel kernel) {
  if (bench::skip(state, isa)) return;
  const int64_t width = state.range(0);
  const auto x = bench::random_floats(kRows * width, 1), weight = bench::random_floats(width, 2);
  const auto bias = bench::random_floats(width, 3);
  std::vector<float> y(x.size());
  for (auto _ : state) {
    kernel.forward(x.data(), weight.data(), bias.data(), 1e-5f, kRows, width, y.data());
    benchmark::ClobberMemory();
  }
  bench::count(state, static_cast<double>(4 * kRows * width), static_cast<double>(8 * kRows * width));
}

void backward(benchmark::State& state, Isa isa, LayerNormKernel kernel) {
  if (bench::skip(state, isa)) return;
  const int64_t width = state.range(0);
  const auto x = bench::random_floats(kRows * width, 1), dy = bench::random_floats(kRows * width, 2);
  const auto weight = bench::random_floats(width, 3);
  std::vector<float> dx(x.size());
  for (auto _ : state) {
    kernel.backward(dy.data(), x.data(), weight.data(), 1e-5f, kRows, width, dx.data());
    benchmark::ClobberMemory();
  }
  bench::count(state, static_cast<double>(9 * kRows * width), static_cast<double>(12 * kRows * width));
}

#define PL_KERNEL(isa, forward_fn, backward_fn)                                                                    \
  BENCHMARK_CAPTURE(forward, forward_fn, Isa::isa, LayerNormKernel{forward_fn, backward_fn})->Arg(576)->Arg(2048); \
  BENCHMARK_CAPTURE(backward, backward_fn, Isa::isa, LayerNormKernel{forward_fn, backward_fn})->Arg(576)->Arg(2048);
#include "kernels/layer_norm/kernels.inc"
#undef PL_KERNEL

}  // namespace
}  // namespace pocketlora
