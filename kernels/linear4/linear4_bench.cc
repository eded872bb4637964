#include <utility>

#include "kernels/common/bench_support.h"
#include "kernels/linear4/linear4.h"
#include "kernels/q4/compute.h"

namespace pocketlora {
namespace {

/// Arguments: rows of x, out_features, in_features, scheme.
struct Operands {
  explicit Operands(const benchmark::State& state)
      : n_rows(state.range(0)),
        w(state.range(1), state.range(2), static_cast<Quant>(state.range(3)), 64),
        x(bench::random_floats(n_rows * state.range(2), 1)),
        y(bench::random_floats(n_rows * state.range(1), 2)) {}

  double flops() const { return 2.0 * static_cast<double>(n_rows * w.matrix().rows * w.matrix().cols); }
  double bytes() const { return static_cast<double>(w.matrix().bytes()); }

  int64_t n_rows;
  bench::RandomMatrix w;
  std::vector<float> x, y;
};

void forward(benchmark::State& state, Isa isa, Linear4Kernel kernel) {
  if (bench::skip(state, isa)) return;
  Operands o(state);
  for (auto _ : state) {
    kernel.forward(o.x.data(), o.n_rows, o.w.matrix(), nullptr, o.y.data());
    benchmark::ClobberMemory();
  }
  bench::count(state, o.flops(), o.bytes());
}

/// The same in integers.
void int16(benchmark::State& state, Isa isa, Linear4Kernel kernel) {
  const ComputeScope scope(Compute::kInt16);
  forward(state, isa, kernel);
}

void int8(benchmark::State& state, Isa isa, Linear4Kernel kernel) {
  const ComputeScope scope(Compute::kInt8);
  forward(state, isa, kernel);
}

void backward(benchmark::State& state, Isa isa, Linear4Kernel kernel) {
  if (bench::skip(state, isa)) return;
  Operands o(state);
  for (auto _ : state) {
    kernel.backward(o.y.data(), o.n_rows, o.w.matrix(), o.x.data());
    benchmark::ClobberMemory();
  }
  bench::count(state, o.flops(), o.bytes());
}

void int16_backward(benchmark::State& state, Isa isa, Linear4Kernel kernel) {
  const ComputeScope scope(Compute::kInt16);
  backward(state, isa, kernel);
}

void int8_backward(benchmark::State& state, Isa isa, Linear4Kernel kernel) {
  const ComputeScope scope(Compute::kInt8);
  backward(state, isa, kernel);
}

/// The products of a prompt or a training pass of a 1B model.
void model_shapes(benchmark::internal::Benchmark* b) {
  for (const auto& [out, in] : {std::pair<int64_t, int64_t>{2048, 2048}, {512, 2048}, {8192, 2048}, {2048, 8192}}) {
    for (int64_t rows : {32, 64, 128, 256, 512}) b->Args({rows, out, in, 0});
  }
}

void forward_shapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"rows", "out", "in", "scheme"});
  for (int64_t scheme : {0, 1}) {
    b->Args({128, 2048, 2048, scheme});
    b->Args({1, 2048, 2048, scheme});
    // Short prompts, on both sides of the change from decoding into registers to blocked products.
    for (int64_t rows : {4, 8, 16, 24, 32}) b->Args({rows, 2048, 2048, scheme});
    // Larger than the caches: what a model does.
    for (int64_t rows : {1, 8}) b->Args({rows, 32768, 2048, scheme});
  }
  b->Args({128, 1536, 576, 0});
  model_shapes(b);
}

void int16_shapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"rows", "out", "in", "scheme"});
  for (int64_t scheme : {0, 1}) {
    for (int64_t rows : {1, 4, 8, 16, 17, 24, 32, 128}) b->Args({rows, 2048, 2048, scheme});
    b->Args({1, 32768, 2048, scheme});
    b->Args({8, 32768, 2048, scheme});
  }
  b->Args({128, 1536, 576, 0});
  model_shapes(b);
}

void backward_shapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"rows", "out", "in", "scheme"});
  for (int64_t scheme : {0, 1}) {
    for (int64_t rows : {17, 24, 32, 128}) b->Args({rows, 2048, 2048, scheme});
  }
  b->Args({128, 1536, 576, 0});
  model_shapes(b);
}

#define PL_KERNEL(isa, forward_fn, backward_fn)                                                                       \
  BENCHMARK_CAPTURE(forward, forward_fn, Isa::isa, Linear4Kernel{forward_fn, backward_fn})->Apply(forward_shapes);    \
  BENCHMARK_CAPTURE(int16, forward_fn, Isa::isa, Linear4Kernel{forward_fn, backward_fn})->Apply(int16_shapes);        \
  BENCHMARK_CAPTURE(int8, forward_fn, Isa::isa, Linear4Kernel{forward_fn, backward_fn})->Apply(int16_shapes);         \
  BENCHMARK_CAPTURE(backward, backward_fn, Isa::isa, Linear4Kernel{forward_fn, backward_fn})->Apply(backward_shapes); \
  BENCHMARK_CAPTURE(int16_backward, backward_fn, Isa::isa, Linear4Kernel{forward_fn, backward_fn})                    \
      ->Apply(backward_shapes);                                                                                       \
  BENCHMARK_CAPTURE(int8_backward, backward_fn, Isa::isa, Linear4Kernel{forward_fn, backward_fn})                     \
      ->Apply(backward_shapes);
#include "kernels/linear4/kernels.inc"
#undef PL_KERNEL

}  // namespace
}  // namespace pocketlora
