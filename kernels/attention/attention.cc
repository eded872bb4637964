#include "kernels/attention/attention.h"

#include <algorithm>

#include "kernels/common/parallel.h"
#include "kernels/common/scratch.h"

namespace pocketlora {
namespace {

constexpr KernelEntry<AttentionKernel> kKernels[] = {
#define PL_KERNEL(isa, forward, backward, store) {Isa::isa, #forward, {forward, backward, store}},
#include "kernels/attention/kernels.inc"
#undef PL_KERNEL
};

// Heads that are worth a task when rows are stored.
constexpr int64_t kHeadsPerTask = 128;
// Query rows of a forward task: fine enough to share a causal triangle out evenly.
constexpr int64_t kRowsPerTask = 32;

int64_t div_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

/** One block of new rows with what it may look back at; keys and values in the cache's format. */
struct Block {
  const float* q;
  const uint8_t *k, *v;
  KvCacheRows cache;
  float *out, *lse;
  int64_t n_rows;
};

/** Runs every (key/value head, row range) of a block as a task of its own. */
void run_forward(const AttentionKernel& kernel, const Block& block, const AttentionShape& shape) {
  const int64_t dim = shape.head_dim, group = shape.num_heads / shape.num_kv_heads;
  const int64_t ranges = div_up(block.n_rows, kRowsPerTask), past = block.cache.past;
  const int64_t head_bytes = cache_head_bytes(block.cache.format, dim);
  parallel_for(0, shape.num_kv_heads * ranges, 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      ScratchFrame scratch;
      const int64_t head = task % shape.num_kv_heads, first = task / shape.num_kv_heads * kRowsPerTask;
      AttentionRows rows{};
      rows.q = block.q + head * group * dim;
      rows.format = block.cache.format;
      rows.k = block.k + head * head_bytes;
      rows.v = block.v + head * head_bytes;
      rows.k_cache = past > 0 ? block.cache.k + head * head_bytes : nullptr;
      rows.v_cache = past > 0 ? block.cache.v + head * head_bytes : nullptr;
      rows.out = block.out + head * group * dim;
      rows.lse = block.lse != nullptr ? block.lse + head * group : nullptr;
      rows.past = past;
      rows.row_begin = first;
      rows.row_end = std::min(first + kRowsPerTask, block.n_rows);
      rows.group = group;
      rows.head_dim = dim;
      rows.q_stride = shape.num_heads * dim;
      rows.kv_bytes = shape.num_kv_heads * head_bytes;
      rows.lse_stride = shape.num_heads;
      rows.window = shape.window;
      rows.scale = shape.scale;
      rows.softcap = shape.softcap;
      rows.scores = scratch.floats(attention_scores(past, rows.row_end, shape.window));
      kernel.forward(rows);
    }
  });
}

const uint8_t* as_bytes(const float* values) { return reinterpret_cast<const uint8_t*>(values); }

}  // namespace

void store_cache_rows(CacheFormat format, const float* rows, int64_t n_rows, int64_t num_heads, int64_t head_dim,
                      uint8_t* stored, Isa isa) {
  const AttentionKernel& kernel = select_kernel(kKernels, isa);
  const int64_t head_bytes = cache_head_bytes(format, head_dim);
  parallel_for(0, n_rows * num_heads, kHeadsPerTask, [&](int64_t begin, int64_t end) {
    for (int64_t head = begin; head < end; ++head) {
      kernel.store(format, rows + head * head_dim, head_dim, stored + head * head_bytes);
    }
  });
}

void store_cache_rows(CacheFormat format, const float* rows, int64_t n_rows, int64_t num_heads, int64_t head_dim,
                      uint8_t* stored) {
  store_cache_rows(format, rows, n_rows, num_heads, head_dim, stored, active_isa());
}

void attention(const float* q, const float* k, const float* v, const int64_t* segments, int64_t num_segments,
               const AttentionShape& shape, float* out, float* lse, Isa isa) {
  const AttentionKernel& kernel = select_kernel(kKernels, isa);
  const int64_t q_stride = shape.num_heads * shape.head_dim, kv_stride = shape.num_kv_heads * shape.head_dim;
  for (int64_t s = 0; s < num_segments; ++s) {
    const int64_t first = segments[s];
    const Block block{q + first * q_stride,
                      as_bytes(k + first * kv_stride),
                      as_bytes(v + first * kv_stride),
                      {CacheFormat::kFloat32, nullptr, nullptr, 0},
                      out + first * q_stride,
                      lse + first * shape.num_heads,
                      segments[s + 1] - first};
    run_forward(kernel, block, shape);
  }
}

void attention(const float* q, const float* k, const float* v, const int64_t* segments, int64_t num_segments,
               const AttentionShape& shape, float* out, float* lse) {
  attention(q, k, v, segments, num_segments, shape, out, lse, active_isa());
}

void attention_backward(const float* dout, const float* q, const float* k, const float* v, const float* out,
                        const float* lse, const int64_t* segments, int64_t num_segments, const AttentionShape& shape,
                        float* dq, float* dk, float* dv, Isa isa) {
  const AttentionKernel& kernel = select_kernel(kKernels, isa);
  const int64_t dim = shape.head_dim, group = shape.num_heads / shape.num_kv_heads;
  const int64_t q_stride = shape.num_heads * dim, kv_stride = shape.num_kv_heads * dim;
  parallel_for(0, num_segments * shape.num_kv_heads, 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      ScratchFrame scratch;
      const int64_t first = segments[task / shape.num_kv_heads], kv_head = task % shape.num_kv_heads;
      const int64_t q_at = first * q_stride + kv_head * group * dim, kv_at = first * kv_stride + kv_head * dim;
      AttentionGradRows rows{};
      rows.dout = dout + q_at;
      rows.q = q + q_at;
      rows.out = out + q_at;
      rows.k = k + kv_at;
      rows.v = v + kv_at;
      rows.lse = lse + first * shape.num_heads + kv_head * group;
      rows.dq = dq + q_at;
      rows.dk = dk + kv_at;
      rows.dv = dv + kv_at;
      rows.n_rows = segments[task / shape.num_kv_heads + 1] - first;
      rows.group = group;
      rows.head_dim = dim;
      rows.q_stride = q_stride;
      rows.kv_stride = kv_stride;
      rows.lse_stride = shape.num_heads;
      rows.window = shape.window;
      rows.scale = shape.scale;
      rows.softcap = shape.softcap;
      rows.scratch = scratch.floats(attention_grad_scratch(rows.n_rows, group, dim));
      kernel.backward(rows);
    }
  });
}

void attention_backward(const float* dout, const float* q, const float* k, const float* v, const float* out,
                        const float* lse, const int64_t* segments, int64_t num_segments, const AttentionShape& shape,
                        float* dq, float* dk, float* dv) {
  attention_backward(dout, q, k, v, out, lse, segments, num_segments, shape, dq, dk, dv, active_isa());
}

void attention_cached(const float* q, const float* k_new, const float* v_new, const KvCacheRows& cache,
                      const AttentionShape& shape, float* out, Isa isa) {
  Block block{q, as_bytes(k_new), as_bytes(v_new), cache, out, nullptr, shape.n_rows};
  ScratchFrame scratch;
  if (cache.format != CacheFormat::kFloat32) {
    const int64_t bytes = shape.n_rows * shape.num_kv_heads * cache_head_bytes(cache.format, shape.head_dim);
    auto* k = static_cast<uint8_t*>(scratch.bytes(static_cast<size_t>(bytes)));
    auto* v = static_cast<uint8_t*>(scratch.bytes(static_cast<size_t>(bytes)));
    store_cache_rows(cache.format, k_new, shape.n_rows, shape.num_kv_heads, shape.head_dim, k, isa);
    store_cache_rows(cache.format, v_new, shape.n_rows, shape.num_kv_heads, shape.head_dim, v, isa);
    block.k = k;
    block.v = v;
  }
  run_forward(select_kernel(kKernels, isa), block, shape);
}

void attention_cached(const float* q, const float* k_new, const float* v_new, const KvCacheRows& cache,
                      const AttentionShape& shape, float* out) {
  attention_cached(q, k_new, v_new, cache, shape, out, active_isa());
}

}  // namespace pocketlora
