#include "kernels/common/bench_support.h"
#include "kernels/exp/exp.h"

namespace pocketlora {
namespace {

void all(benchmark::State& state, Isa isa, ExpKernel kernel) {
  if (bench::skip(state, isa)) return;
  const auto x = bench::random_floats(state.range(0), 1);
  std::vector<float> y(x.size());
  for (auto _ : state) {
    kernel(x.data(), state.range(0), y.data());
    benchmark::ClobberMemory();
  }
  bench::count(state, static_cast<double>(state.range(0)), 8.0 * static_cast<double>(state.range(0)));
}

#define PL_KERNEL(isa, function) BENCHMARK_CAPTURE(all, function, Isa::isa, function)->Arg(2048);
#include "kernels/exp/kernels.inc"
#undef PL_KERNEL

}  // namespace
}  // namespace pocketlora
