#pragma once

#include <cmath>

#include "kernels/attention/attention.h"
#include "kernels/common/vec_math.h"

/**
 * Attention over an instruction set's vocabulary V; one .cc file an instruction set instantiates it. A key's score and
 * a row's sums are computed in an order that depends on the key's number alone, not on how rows or keys were grouped
 * into calls.
 */
namespace pocketlora::vec {

/** scores[j] = scale · (q · key j), four keys at a time; the last keys of an incomplete four are computed in the same
 * way. */
template <class V>
void score_keys(const float* q, const float* keys, int64_t stride, int64_t count, int64_t dim, float scale,
                float* scores) {
  for (int64_t j = 0; j < count; j += 4) {
    const int64_t last = count - 1 - j;
    const float* k0 = keys + j * stride;
    const float* k1 = k0 + (last < 1 ? last : 1) * stride;
    const float* k2 = k0 + (last < 2 ? last : 2) * stride;
    const float* k3 = k0 + (last < 3 ? last : 3) * stride;
    auto s0 = V::zero(), s1 = V::zero(), s2 = V::zero(), s3 = V::zero();
    for_each_vector<V>(dim, [&](int64_t d, int64_t lanes) {
      const auto x = load_count<V>(q + d, lanes);
      s0 = V::fma(x, load_count<V>(k0 + d, lanes), s0);
      s1 = V::fma(x, load_count<V>(k1 + d, lanes), s1);
      s2 = V::fma(x, load_count<V>(k2 + d, lanes), s2);
      s3 = V::fma(x, load_count<V>(k3 + d, lanes), s3);
    });
    float sums[4];
    V::sum4(s0, s1, s2, s3, sums);
    for (int64_t b = 0; b < 4 && j + b < count; ++b) scores[j + b] = scale * sums[b];
  }
}

/** kCols vectors of acc[d] += Σ_j weights[j] · rows[j][d], kept in registers over all rows, added in the order of j. */
template <class V, int64_t kCols>
inline void add_weighted_columns(const float* weights, const float* rows, int64_t stride, int64_t count, float* acc) {
  typename V::F sums[kCols];
  for (int64_t c = 0; c < kCols; ++c) sums[c] = V::load(acc + c * V::kLanes);
  for (int64_t j = 0; j < count; ++j, rows += stride) {
    const auto w = V::set1(weights[j]);
    for (int64_t c = 0; c < kCols; ++c) sums[c] = V::fma(w, V::load(rows + c * V::kLanes), sums[c]);
  }
  for (int64_t c = 0; c < kCols; ++c) V::store(acc + c * V::kLanes, sums[c]);
}

/** acc[d] += Σ_j weights[j] · rows[j][d] for d < dim. */
template <class V>
void add_weighted_rows(const float* weights, const float* rows, int64_t stride, int64_t count, int64_t dim,
                       float* acc) {
  int64_t d = 0;
  for (; d + 8 * V::kLanes <= dim; d += 8 * V::kLanes) {
    add_weighted_columns<V, 8>(weights, rows + d, stride, count, acc + d);
  }
  for (; d + 2 * V::kLanes <= dim; d += 2 * V::kLanes) {
    add_weighted_columns<V, 2>(weights, rows + d, stride, count, acc + d);
  }
  for_each_vector<V>(dim - d, [&](int64_t rest, int64_t lanes) {
    auto sum = load_count<V>(acc + d + rest, lanes);
    for (int64_t j = 0; j < count; ++j) {
      sum = V::fma(V::set1(weights[j]), load_count<V>(rows + j * stride + d + rest, lanes), sum);
    }
    store_count<V>(acc + d + rest, sum, lanes);
  });
}

/** The largest of n > 0 values. */
template <class V>
inline float largest(const float* values, int64_t n) {
  if (n < V::kLanes) {
    float m = values[0];
    for (int64_t j = 1; j < n; ++j) m = values[j] > m ? values[j] : m;
    return m;
  }
  auto m = V::load(values + n - V::kLanes);  // overlaps the vectors below: a maximum may count a value twice
  for (int64_t j = 0; j + V::kLanes <= n; j += V::kLanes) m = V::max(m, V::load(values + j));
  return V::maximum(m);
}

/** values[j] = exp(values[j] − shift). @return their sum. */
template <class V>
inline float exp_and_sum(float* values, int64_t n, float shift) {
  const auto by = V::set1(shift);
  auto sum = V::zero();
  int64_t j = 0;
  for (; j + V::kLanes <= n; j += V::kLanes) {
    const auto e = simd_exp<V>(V::sub(V::load(values + j), by));
    V::store(values + j, e);
    sum = V::add(sum, e);
  }
  if (j < n) {
    V::store_first(values + j, simd_exp<V>(V::sub(V::load_first(values + j, n - j), by)), n - j);
    sum = V::add(sum, V::load_first(values + j, n - j));  // loaded again: the lanes beyond are 0
  }
  return V::sum(sum);
}

/** Row i of one query head. */
template <class V>
void attend(const AttentionRows& rows, int64_t i) {
  const int64_t dim = rows.head_dim, stride = rows.kv_stride, n_keys = rows.past + i + 1;
  const float* q = rows.q + i * rows.q_stride;
  score_keys<V>(q, rows.k_cache, stride, rows.past, dim, rows.scale, rows.scores);
  score_keys<V>(q, rows.k, stride, i + 1, dim, rows.scale, rows.scores + rows.past);
  const float maximum = largest<V>(rows.scores, n_keys);
  const float sum = exp_and_sum<V>(rows.scores, n_keys, maximum);
  float* out = rows.out + i * rows.q_stride;
  for_each_vector<V>(dim, [&](int64_t d, int64_t lanes) { store_count<V>(out + d, V::zero(), lanes); });
  add_weighted_rows<V>(rows.scores, rows.v_cache, stride, rows.past, dim, out);
  add_weighted_rows<V>(rows.scores + rows.past, rows.v, stride, i + 1, dim, out);
  const auto total = V::set1(sum);
  for_each_vector<V>(dim, [&](int64_t d, int64_t lanes) {
    store_count<V>(out + d, V::div(load_count<V>(out + d, lanes), total), lanes);
  });
  if (rows.lse != nullptr) rows.lse[i * rows.lse_stride] = maximum + std::log(sum);
}

template <class V>
void attention_rows(const AttentionRows& rows) {
  for (int64_t i = rows.row_begin; i < rows.row_end; ++i) attend<V>(rows, i);
}

/** p[j] = exp(s_ij − lse_i) and ds[j] = p[j] · (dout_i · v_j − delta_i) · scale for j ≤ i, 0 for i < j < n. */
template <class V>
void row_probabilities(const AttentionGradRows& rows, int64_t head, int64_t i, int64_t n, float* p, float* ds) {
  const int64_t dim = rows.head_dim, at = i * rows.q_stride + head * dim;
  const float* dout = rows.dout + at;
  const float delta = dot<V>(dout, rows.out + at, dim);
  score_keys<V>(rows.q + at, rows.k, rows.kv_stride, i + 1, dim, rows.scale, p);
  score_keys<V>(dout, rows.v, rows.kv_stride, i + 1, dim, 1.0f, ds);
  const auto lse = V::set1(rows.lse[i * rows.lse_stride + head]);
  const auto shift = V::set1(delta), scale = V::set1(rows.scale);
  for_each_vector<V>(i + 1, [&](int64_t j, int64_t lanes) {
    const auto e = simd_exp<V>(V::sub(load_count<V>(p + j, lanes), lse));
    store_count<V>(p + j, e, lanes);
    store_count<V>(ds + j, V::mul(V::mul(e, V::sub(load_count<V>(ds + j, lanes), shift)), scale), lanes);
  });
  for (int64_t j = i + 1; j < n; ++j) p[j] = ds[j] = 0;
}

/** dst[j][d] += Σ_b weights[b · ld + j] · src[b · src_stride + d] over the kAttentionGradRows rows b, for j < count. */
template <class V>
void add_outer(const float* weights, int64_t ld, const float* src, int64_t src_stride, int64_t count, int64_t dim,
               float* dst, int64_t dst_stride) {
  static_assert(kAttentionGradRows == 4, "four rows are written out below");
  for_each_vector<V>(dim, [&](int64_t d, int64_t lanes) {
    const auto x0 = load_count<V>(src + d, lanes), x1 = load_count<V>(src + src_stride + d, lanes);
    const auto x2 = load_count<V>(src + 2 * src_stride + d, lanes), x3 = load_count<V>(src + 3 * src_stride + d, lanes);
    float* y = dst + d;
    for (int64_t j = 0; j < count; ++j, y += dst_stride) {
      auto sum = V::fma(V::set1(weights[j]), x0, load_count<V>(y, lanes));
      sum = V::fma(V::set1(weights[ld + j]), x1, sum);
      sum = V::fma(V::set1(weights[2 * ld + j]), x2, sum);
      store_count<V>(y, V::fma(V::set1(weights[3 * ld + j]), x3, sum), lanes);
    }
  });
}

/** Gradients of `count` ≤ kAttentionGradRows query rows from i0 on. */
template <class V>
void add_block_gradients(const AttentionGradRows& rows, int64_t head, int64_t i0, int64_t count) {
  const int64_t dim = rows.head_dim, ld = rows.n_rows, n = i0 + count, at = i0 * rows.q_stride + head * dim;
  float* p = rows.scratch;
  float* ds = rows.scratch + kAttentionGradRows * ld;
  for (int64_t b = 0; b < count; ++b) {
    row_probabilities<V>(rows, head, i0 + b, n, p + b * ld, ds + b * ld);
    float* dq = rows.dq + at + b * rows.q_stride;
    for_each_vector<V>(dim, [&](int64_t d, int64_t lanes) { store_count<V>(dq + d, V::zero(), lanes); });
    add_weighted_rows<V>(ds + b * ld, rows.k, rows.kv_stride, i0 + b + 1, dim, dq);
  }
  if (count == kAttentionGradRows) {
    add_outer<V>(ds, ld, rows.q + at, rows.q_stride, n, dim, rows.dk, rows.kv_stride);
    add_outer<V>(p, ld, rows.dout + at, rows.q_stride, n, dim, rows.dv, rows.kv_stride);
    return;
  }
  for (int64_t b = 0; b < count; ++b) {
    for (int64_t j = 0; j < n; ++j) {
      const int64_t kv = j * rows.kv_stride, row = at + b * rows.q_stride;
      add_weighted_rows<V>(ds + b * ld + j, rows.q + row, 0, 1, dim, rows.dk + kv);
      add_weighted_rows<V>(p + b * ld + j, rows.dout + row, 0, 1, dim, rows.dv + kv);
    }
  }
}

template <class V>
void attention_grad_rows(const AttentionGradRows& rows) {
  for (int64_t j = 0; j < rows.n_rows; ++j) {
    for_each_vector<V>(rows.head_dim, [&](int64_t d, int64_t lanes) {
      store_count<V>(rows.dk + j * rows.kv_stride + d, V::zero(), lanes);
      store_count<V>(rows.dv + j * rows.kv_stride + d, V::zero(), lanes);
    });
  }
  for (int64_t head = 0; head < rows.group; ++head) {
    for (int64_t i = 0; i < rows.n_rows; i += kAttentionGradRows) {
      const int64_t left = rows.n_rows - i;
      add_block_gradients<V>(rows, head, i, left < kAttentionGradRows ? left : kAttentionGradRows);
    }
  }
}

}  // namespace pocketlora::vec
