#include "kernels/common/bench_support.h"
#include "kernels/head_loss/head_loss.h"
#include "kernels/q4/compute.h"

namespace pocketlora {
namespace {

/// Arguments: rows of h, vocabulary, hidden size, soft cap.
void run(benchmark::State& state, Isa isa, HeadLossKernel kernel) {
  if (bench::skip(state, isa)) return;
  const int64_t n_rows = state.range(0), vocabulary = state.range(1), hidden = state.range(2);
  const bench::RandomMatrix w(vocabulary, hidden, Quant::kNf4, 64);
  const std::vector<float> h = bench::random_floats(n_rows * hidden, 1);
  const std::vector<float> weights(static_cast<size_t>(n_rows), 1.0f);
  std::vector<int64_t> labels;
  for (int64_t i = 0; i < n_rows; ++i) labels.push_back(i * 997 % vocabulary);
  std::vector<float> logprobs(static_cast<size_t>(n_rows)), dh(h.size());
  float loss = 0.0f;
  for (auto _ : state) {
    kernel(h.data(), n_rows, w.matrix(), nullptr, static_cast<float>(state.range(3)), labels.data(), weights.data(),
           logprobs.data(), &loss, dh.data());
    benchmark::ClobberMemory();
  }
  bench::count(state, 4.0 * static_cast<double>(n_rows * vocabulary * hidden), static_cast<double>(w.matrix().bytes()));
}

void run_int16(benchmark::State& state, Isa isa, HeadLossKernel kernel) {
  const ComputeScope scope(Compute::kInt16);
  run(state, isa, kernel);
}

#define PL_KERNEL(isa, function)                              \
  BENCHMARK_CAPTURE(run, function, Isa::isa, function)        \
      ->ArgNames({"rows", "vocabulary", "hidden", "softcap"}) \
      ->Args({128, 16384, 576, 0})                            \
      ->Args({128, 16384, 576, 30})                           \
      ->Args({128, 16384, 2048, 0});                          \
  BENCHMARK_CAPTURE(run_int16, function, Isa::isa, function)  \
      ->ArgNames({"rows", "vocabulary", "hidden", "softcap"}) \
      ->Args({128, 16384, 576, 0})                            \
      ->Args({128, 16384, 2048, 0});
#include "kernels/head_loss/kernels.inc"
#undef PL_KERNEL

}  // namespace
}  // namespace pocketlora
