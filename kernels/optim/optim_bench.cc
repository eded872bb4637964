#include "kernels/common/bench_support.h"
#include "kernels/optim/optim.h"

namespace pocketlora {
namespace {

constexpr AdamWOptions kOptions{1e-4, 0.9, 0.999, 1e-8, 0.01, 10};

void adamw_step(benchmark::State& state, Isa isa) {
  if (bench::skip(state, isa)) return;
  const int64_t n = state.range(0);
  const auto grads = bench::random_floats(n, 1);
  std::vector<float> p = grads, m(grads.size()), v(grads.size());
  for (auto _ : state) {
    adamw(p.data(), grads.data(), m.data(), v.data(), n, kOptions, isa);
    benchmark::ClobberMemory();
  }
  bench::count(state, static_cast<double>(n), 28.0 * static_cast<double>(n));
}

void norm(benchmark::State& state, Isa isa) {
  if (bench::skip(state, isa)) return;
  const auto x = bench::random_floats(state.range(0), 1);
  for (auto _ : state) benchmark::DoNotOptimize(squared_norm(x.data(), state.range(0), isa));
  bench::count(state, 2.0 * static_cast<double>(state.range(0)), 4.0 * static_cast<double>(state.range(0)));
}

#define PL_KERNEL(isa, adamw_fn, sgd_fn, lion_fn, norm_fn)                    \
  BENCHMARK_CAPTURE(adamw_step, adamw_fn, Isa::isa)->Arg(4096)->Arg(1 << 22); \
  BENCHMARK_CAPTURE(norm, norm_fn, Isa::isa)->Arg(4096)->Arg(1 << 22);
#include "kernels/optim/kernels.inc"
#undef PL_KERNEL

}  // namespace
}  // namespace pocketlora
