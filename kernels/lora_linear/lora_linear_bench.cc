#include "kernels/common/bench_support.h"
#include "kernels/lora_linear/lora_linear.h"

namespace pocketlora {
namespace {

/// Arguments: rows of x, out_features, in_features, rank, dropout in percent.
struct Operands {
  explicit Operands(const benchmark::State& state)
      : n_rows(state.range(0)),
        rank(state.range(3)),
        w(state.range(1), state.range(2), Quant::kNf4, 64),
        x(bench::random_floats(n_rows * state.range(2), 1)),
        y(bench::random_floats(n_rows * state.range(1), 2)),
        dx(x.size()),
        a(bench::random_floats(rank * state.range(2), 3)),
        b(bench::random_floats(state.range(1) * rank, 4)),
        da(a.size()),
        db(b.size()),
        scale(static_cast<size_t>(rank), 2.0f),
        dropout{static_cast<float>(state.range(4)) / 100.0f, 1, 2} {}

  LoraSite site() const { return {a.data(), b.data(), scale.data(), rank}; }
  const Dropout* mask() const { return dropout.p > 0 ? &dropout : nullptr; }
  /// `products` with W, and as many pairs of products with A and B as the op has.
  double flops(double products, double pairs) const {
    const Q4Matrix& m = w.matrix();
    return 2.0 * static_cast<double>(n_rows) *
           (products * static_cast<double>(m.rows * m.cols) + pairs * static_cast<double>(rank * (m.rows + m.cols)));
  }

  int64_t n_rows, rank;
  bench::RandomMatrix w;
  std::vector<float> x, y, dx, a, b, da, db, scale;
  Dropout dropout;
};

void forward(benchmark::State& state, Isa isa, LoraLinearKernel kernel) {
  if (bench::skip(state, isa)) return;
  Operands o(state);
  for (auto _ : state) {
    kernel.forward(o.x.data(), o.n_rows, o.w.matrix(), nullptr, o.site(), o.mask(), o.y.data());
    benchmark::ClobberMemory();
  }
  bench::count(state, o.flops(1, 1), static_cast<double>(o.w.matrix().bytes()));
}

void backward(benchmark::State& state, Isa isa, LoraLinearKernel kernel) {
  if (bench::skip(state, isa)) return;
  Operands o(state);
  for (auto _ : state) {
    kernel.backward(o.y.data(), o.x.data(), o.n_rows, o.w.matrix(), o.site(), o.mask(), o.dx.data(), o.da.data(),
                    o.db.data());
    benchmark::ClobberMemory();
  }
  bench::count(state, o.flops(1, 2.5), static_cast<double>(o.w.matrix().bytes()));
}

void shapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"rows", "out", "in", "rank", "dropout"});
  for (int64_t rank : {0, 16}) b->Args({128, 2048, 2048, rank, 0});
  b->Args({128, 2048, 2048, 16, 5});
  b->Args({128, 576, 576, 16, 0});
}

void forward_shapes(benchmark::internal::Benchmark* b) {
  shapes(b);
  b->Args({1, 2048, 2048, 16, 0});
}

#define PL_KERNEL(isa, forward_fn, backward_fn)                                                                       \
  BENCHMARK_CAPTURE(forward, forward_fn, Isa::isa, LoraLinearKernel{forward_fn, backward_fn})->Apply(forward_shapes); \
  BENCHMARK_CAPTURE(backward, backward_fn, Isa::isa, LoraLinearKernel{forward_fn, backward_fn})->Apply(shapes);
#include "kernels/lora_linear/kernels.inc"
#undef PL_KERNEL

}  // namespace
}  // namespace pocketlora
