#include "kernels/activation/activation.h"
#include "kernels/common/bench_support.h"

namespace pocketlora {
namespace {

void forward(benchmark::State& state, Isa isa, ActivationKernel kernel, Activation activation) {
  if (bench::skip(state, isa)) return;
  const int64_t n = state.range(0);
  const auto gate = bench::random_floats(n, 1), up = bench::random_floats(n, 2);
  std::vector<float> y(gate.size());
  for (auto _ : state) {
    kernel.forward(activation, gate.data(), up.data(), n, y.data());
    benchmark::ClobberMemory();
  }
  bench::count(state, static_cast<double>(n), 12.0 * static_cast<double>(n));
}

void backward(benchmark::State& state, Isa isa, ActivationKernel kernel, Activation activation) {
  if (bench::skip(state, isa)) return;
  const int64_t n = state.range(0);
  const auto dy = bench::random_floats(n, 1), gate = bench::random_floats(n, 2), up = bench::random_floats(n, 3);
  std::vector<float> dgate(gate.size()), dup(gate.size());
  for (auto _ : state) {
    kernel.backward(activation, dy.data(), gate.data(), up.data(), n, dgate.data(), dup.data());
    benchmark::ClobberMemory();
  }
  bench::count(state, static_cast<double>(n), 20.0 * static_cast<double>(n));
}

void cap(benchmark::State& state, Isa isa, ActivationKernel kernel) {
  if (bench::skip(state, isa)) return;
  const int64_t n = state.range(0);
  const auto x = bench::random_floats(n, 1);
  std::vector<float> y(x.size());
  for (auto _ : state) {
    kernel.cap(x.data(), n, 30.0f, y.data());
    benchmark::ClobberMemory();
  }
  bench::count(state, static_cast<double>(n), 8.0 * static_cast<double>(n));
}

void sizes(benchmark::internal::Benchmark* b) { b->Arg(4096)->Arg(1 << 20); }

#define PL_BENCH(run, isa, name, activation, ...)                                                              \
  BENCHMARK_CAPTURE(run, name##_##activation, Isa::isa, ActivationKernel{__VA_ARGS__}, Activation::activation) \
      ->Apply(sizes);
#define PL_KERNEL(isa, forward_fn, backward_fn, cap_fn)                            \
  PL_BENCH(forward, isa, forward_fn, kSilu, forward_fn, backward_fn, cap_fn)       \
  PL_BENCH(forward, isa, forward_fn, kGeluTanh, forward_fn, backward_fn, cap_fn)   \
  PL_BENCH(backward, isa, backward_fn, kSilu, forward_fn, backward_fn, cap_fn)     \
  PL_BENCH(backward, isa, backward_fn, kGeluTanh, forward_fn, backward_fn, cap_fn) \
  BENCHMARK_CAPTURE(cap, cap_fn, Isa::isa, ActivationKernel{forward_fn, backward_fn, cap_fn})->Apply(sizes);
#include "kernels/activation/kernels.inc"
#undef PL_KERNEL

}  // namespace
}  // namespace pocketlora
