#include <algorithm>
#include <cmath>

#include "kernels/attention/attention.h"
#include "kernels/common/bench_support.h"

namespace pocketlora {
namespace {

/** Arguments: rows (training) or cached rows (decoding), query heads, key/value heads, head width. */
struct Operands {
  Operands(const benchmark::State& state, int64_t n_new, float softcap = 0)
      : rows(state.range(0)),
        shape{n_new, state.range(1), state.range(2), state.range(3), 1 / std::sqrt(static_cast<float>(state.range(3))),
              0,     softcap},
        q(bench::random_floats(n_new * shape.num_heads * shape.head_dim, 1)),
        k(bench::random_floats(rows * shape.num_kv_heads * shape.head_dim, 2)),
        v(bench::random_floats(rows * shape.num_kv_heads * shape.head_dim, 3)),
        out(q.size()),
        lse(static_cast<size_t>(n_new * shape.num_heads)),
        dq(q.size()),
        dk(k.size()),
        dv(k.size()) {}

  /** Multiply-adds of one product of every row with its keys, times 2. */
  double causal_flops() const { return static_cast<double>(rows * (rows + 1) * shape.num_heads * shape.head_dim); }

  int64_t rows;
  AttentionShape shape;
  std::vector<float> q, k, v, out, lse, dq, dk, dv;
};

void forward(benchmark::State& state, Isa isa) {
  if (bench::skip(state, isa)) return;
  Operands o(state, state.range(0), static_cast<float>(state.range(4)));
  const int64_t segments[] = {0, o.rows};
  for (auto _ : state) {
    attention(o.q.data(), o.k.data(), o.v.data(), segments, 1, o.shape, o.out.data(), o.lse.data(), isa);
    benchmark::ClobberMemory();
  }
  bench::count(state, 2 * o.causal_flops(), 0);
}

void backward(benchmark::State& state, Isa isa) {
  if (bench::skip(state, isa)) return;
  Operands o(state, state.range(0), static_cast<float>(state.range(4)));
  const int64_t segments[] = {0, o.rows};
  attention(o.q.data(), o.k.data(), o.v.data(), segments, 1, o.shape, o.out.data(), o.lse.data(), isa);
  for (auto _ : state) {
    attention_backward(o.q.data(), o.q.data(), o.k.data(), o.v.data(), o.out.data(), o.lse.data(), segments, 1, o.shape,
                       o.dq.data(), o.dk.data(), o.dv.data(), isa);
    benchmark::ClobberMemory();
  }
  bench::count(state, 5 * o.causal_flops(), 0);
}

void decode(benchmark::State& state, Isa isa) {
  if (bench::skip(state, isa)) return;
  Operands o(state, 1);
  const auto format = static_cast<CacheFormat>(state.range(4));
  const int64_t width = o.shape.head_dim, row_bytes = o.shape.num_kv_heads * cache_head_bytes(format, width);
  std::vector<uint8_t> k(static_cast<size_t>(o.rows * row_bytes)), v(k.size());
  store_cache_rows(format, o.k.data(), o.rows, o.shape.num_kv_heads, width, k.data(), isa);
  store_cache_rows(format, o.v.data(), o.rows, o.shape.num_kv_heads, width, v.data(), isa);
  o.shape.window = state.range(5);
  for (auto _ : state) {
    attention_cached(o.q.data(), o.k.data(), o.v.data(), {format, k.data(), v.data(), o.rows}, o.shape, o.out.data(),
                     isa);
    benchmark::ClobberMemory();
  }
  state.SetLabel(cache_format_name(format));
  const int64_t seen = o.shape.window > 0 ? std::min(o.shape.window, o.rows) : o.rows;
  bench::count(state, 4.0 * static_cast<double>(seen * o.shape.num_heads * width),
               2.0 * static_cast<double>(seen * row_bytes));
}

void shapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"rows", "heads", "kv_heads", "head_dim", "softcap"});
  b->Args({256, 9, 3, 64, 0});     // SmolLM2-135M
  b->Args({256, 32, 8, 64, 0});    // Llama-3.2-1B
  b->Args({256, 32, 32, 128, 0});  // Llama-2-7B
  b->Args({1024, 32, 8, 64, 0});
  b->Args({256, 8, 4, 256, 50});  // Gemma-2-2B
}

void decode_shapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"rows", "heads", "kv_heads", "head_dim", "format", "window"});
  for (const CacheFormat format : kCacheFormats) {
    for (const int64_t rows : {512, 4096}) {
      b->Args({rows, 32, 8, 64, static_cast<int64_t>(format), 0});    // Llama-3.2-1B
      b->Args({rows, 32, 32, 128, static_cast<int64_t>(format), 0});  // Llama-2-7B
    }
  }
  b->Args({4096, 32, 8, 128, static_cast<int64_t>(CacheFormat::kFloat32), 1024});  // Mistral-7B's heads, a window
}

#define PL_KERNEL(isa, forward_fn, backward_fn, store_fn)                                           \
  BENCHMARK_CAPTURE(forward, forward_fn, Isa::isa)->Apply(shapes)->Unit(benchmark::kMillisecond);   \
  BENCHMARK_CAPTURE(backward, backward_fn, Isa::isa)->Apply(shapes)->Unit(benchmark::kMillisecond); \
  BENCHMARK_CAPTURE(decode, forward_fn, Isa::isa)->Apply(decode_shapes)->Unit(benchmark::kMicrosecond);
#include "kernels/attention/kernels.inc"
#undef PL_KERNEL

}  // namespace
}  // namespace pocketlora
