#include "kernels/common/bench_support.h"
#include "kernels/swiglu/swiglu.h"

namespace pocketlora {
namespace {

void forward(benchmark::State& state, Isa isa, SwigluKernel kernel) {
  if (bench::skip(state, isa)) return;
  const int64_t n = state.range(0);
  const auto gate = bench::random_floats(n, 1), up = bench::random_floats(n, 2);
  std::vector<float> y(gate.size());
  for (auto _ : state) {
    kernel.forward(gate.data(), up.data(), n, y.data());
    benchmark::ClobberMemory();
  }
  bench::count(state, static_cast<double>(n), 12.0 * static_cast<double>(n));
}

void backward(benchmark::State& state, Isa isa, SwigluKernel kernel) {
  if (bench::skip(state, isa)) return;
  const int64_t n = state.range(0);
  const auto dy = bench::random_floats(n, 1), gate = bench::random_floats(n, 2), up = bench::random_floats(n, 3);
  std::vector<float> dgate(gate.size()), dup(gate.size());
  for (auto _ : state) {
    kernel.backward(dy.data(), gate.data(), up.data(), n, dgate.data(), dup.data());
    benchmark::ClobberMemory();
  }
  bench::count(state, static_cast<double>(n), 20.0 * static_cast<double>(n));
}

#define PL_KERNEL(isa, forward_fn, backward_fn)                                                                     \
  BENCHMARK_CAPTURE(forward, forward_fn, Isa::isa, SwigluKernel{forward_fn, backward_fn})->Arg(4096)->Arg(1 << 20); \
  BENCHMARK_CAPTURE(backward, backward_fn, Isa::isa, SwigluKernel{forward_fn, backward_fn})->Arg(4096)->Arg(1 << 20);
#include "kernels/swiglu/kernels.inc"
#undef PL_KERNEL

}  // namespace
}  // namespace pocketlora
