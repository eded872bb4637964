#pragma once

#include <cmath>

#include "kernels/attention/attention.h"
#include "kernels/attention/tiles.h"

/** Attention over an instruction set's vocabulary V; one .cc file an instruction set instantiates it. */
namespace pocketlora::vec {

/** values[j] *= factor. @return the largest result; n > 0. */
template <class V>
inline float scale_and_largest(float* values, int64_t n, float factor) {
  float largest = factor * values[0];
  auto lanes = V::set1(largest);
  int64_t j = 0;
  for (; j + V::kLanes <= n; j += V::kLanes) {
    const auto scaled = V::mul(V::load(values + j), V::set1(factor));
    V::store(values + j, scaled);
    lanes = V::max(lanes, scaled);
  }
  largest = V::maximum(lanes);
  for (; j < n; ++j) {
    values[j] *= factor;
    largest = values[j] > largest ? values[j] : largest;
  }
  return largest;
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

/** kQ query vectors; vector t of a block is the head t % group of row t / group. */
template <class V>
struct ForwardTile {
  const AttentionRows& rows;

  template <int kQ>
  void run(int64_t first) const {
    const int64_t dim = rows.head_dim, stride = rows.kv_stride, past = rows.past;
    const int64_t ld = past + (first + kQ - 1) / rows.group + 1;
    const float* q[kQ];
    float* out[kQ];
    for (int b = 0; b < kQ; ++b) {
      const int64_t at = (first + b) / rows.group * rows.q_stride + (first + b) % rows.group * dim;
      q[b] = rows.q + at;
      out[b] = rows.out + at;
    }
    score_tile<V, kQ>(q, rows.k_cache, stride, past, dim, rows.scores, ld);
    score_tile<V, kQ>(q, rows.k, stride, ld - past, dim, rows.scores + past, ld);
    float total[kQ];
    for (int b = 0; b < kQ; ++b) {
      total[b] = softmax(first + b, rows.scores + b * ld);
      for_each_vector<V>(dim, [&](int64_t d, int64_t lanes) { store_count<V>(out[b] + d, V::zero(), lanes); });
    }
    add_values<kQ>(first, ld, out);
    for (int b = 0; b < kQ; ++b) {
      const auto divisor = V::set1(total[b]);
      for_each_vector<V>(dim, [&](int64_t d, int64_t lanes) {
        store_count<V>(out[b] + d, V::div(load_count<V>(out[b] + d, lanes), divisor), lanes);
      });
    }
  }

  /** Turns the scores of a vector's own keys into exp(s − maximum), stores its lse. @return their sum. */
  float softmax(int64_t t, float* scores) const {
    const int64_t row = t / rows.group, n_keys = rows.past + row + 1;
    const float maximum = scale_and_largest<V>(scores, n_keys, rows.scale);
    const float sum = exp_and_sum<V>(scores, n_keys, maximum);
    if (rows.lse != nullptr) rows.lse[row * rows.lse_stride + t % rows.group] = maximum + std::log(sum);
    return sum;
  }

  /** The values of the cache and of the rows that all vectors of the tile see, then the rest of each. */
  template <int kQ>
  void add_values(int64_t first, int64_t ld, float* const* out) const {
    const int64_t common = first / rows.group + 1, stride = rows.kv_stride, dim = rows.head_dim;
    const float* weights = rows.scores + rows.past;
    add_weighted_rows<V, kQ>(rows.scores, ld, rows.v_cache, stride, rows.past, dim, out);
    add_weighted_rows<V, kQ>(weights, ld, rows.v, stride, common, dim, out);
    for (int b = 1; b < kQ; ++b) {
      const int64_t left = (first + b) / rows.group + 1 - common;
      if (left == 0) continue;
      add_weighted_rows<V, 1>(weights + b * ld + common, ld, rows.v + common * stride, stride, left, dim, out + b);
    }
  }
};

template <class V>
void attention_rows(const AttentionRows& rows) {
  for_each_tile(rows.row_begin * rows.group, rows.row_end * rows.group, ForwardTile<V>{rows});
}

/** One key block against kQ query vectors. k, v, dk and dv are dense: rows head_dim apart. */
template <class V>
struct BackwardTile {
  const AttentionGradRows& rows;
  const float *k, *v, *delta;
  float *dk, *dv, *p, *ds;
  int64_t begin, end;  ///< the keys of the block

  template <int kQ>
  void run(int64_t first) const {
    const int64_t dim = rows.head_dim, count = end - begin, ld = kAttentionKeyBlock;
    const float *q[kQ], *dout[kQ];
    float* dq[kQ];
    for (int b = 0; b < kQ; ++b) {
      const int64_t at = (first + b) / rows.group * rows.q_stride + (first + b) % rows.group * dim;
      q[b] = rows.q + at;
      dout[b] = rows.dout + at;
      dq[b] = rows.dq + at;
    }
    score_tile<V, kQ>(q, k + begin * dim, dim, count, dim, p, ld);
    score_tile<V, kQ>(dout, v + begin * dim, dim, count, dim, ds, ld);
    for (int b = 0; b < kQ; ++b) probabilities(first + b, p + b * ld, ds + b * ld);
    add_weighted_rows<V, kQ>(ds, ld, k + begin * dim, dim, count, dim, dq);
    add_outer<V, kQ>(ds, ld, q, count, dim, dk + begin * dim, dim);
    add_outer<V, kQ>(p, ld, dout, count, dim, dv + begin * dim, dim);
  }

  /** From the products q·k and dout·v of a vector to P and dS; 0 for keys after its row. */
  void probabilities(int64_t t, float* pt, float* dst) const {
    const int64_t row = t / rows.group, seen = (row + 1 < end ? row + 1 : end) - begin;
    const auto lse = V::set1(rows.lse[row * rows.lse_stride + t % rows.group]);
    const auto shift = V::set1(delta[t]), scale = V::set1(rows.scale);
    for_each_vector<V>(seen, [&](int64_t j, int64_t lanes) {
      const auto e = simd_exp<V>(V::sub(V::mul(load_count<V>(pt + j, lanes), scale), lse));
      store_count<V>(pt + j, e, lanes);
      store_count<V>(dst + j, V::mul(V::mul(e, V::sub(load_count<V>(dst + j, lanes), shift)), scale), lanes);
    });
    for (int64_t j = seen; j < end - begin; ++j) pt[j] = dst[j] = 0;
  }
};

/** Copies n rows of `dim` floats. */
template <class V>
void copy_rows(const float* from, int64_t from_stride, int64_t n, int64_t dim, float* to, int64_t to_stride) {
  for (int64_t j = 0; j < n; ++j, from += from_stride, to += to_stride) {
    for_each_vector<V>(
        dim, [&](int64_t d, int64_t lanes) { store_count<V>(to + d, load_count<V>(from + d, lanes), lanes); });
  }
}

template <class V>
void clear(float* values, int64_t n) {
  for_each_vector<V>(n, [&](int64_t i, int64_t lanes) { store_count<V>(values + i, V::zero(), lanes); });
}

/** delta[t] = dout_t · out_t, and dq_t = 0. */
template <class V>
void start_rows(const AttentionGradRows& rows, float* delta) {
  for (int64_t t = 0; t < rows.n_rows * rows.group; ++t) {
    const int64_t at = t / rows.group * rows.q_stride + t % rows.group * rows.head_dim;
    delta[t] = dot<V>(rows.dout + at, rows.out + at, rows.head_dim);
    clear<V>(rows.dq + at, rows.head_dim);
  }
}

template <class V>
void attention_grad_rows(const AttentionGradRows& rows) {
  const int64_t n = rows.n_rows, dim = rows.head_dim, size = n * dim;
  float *k = rows.scratch, *v = k + size, *dk = v + size, *dv = dk + size, *delta = dv + size;
  float *p = delta + n * rows.group, *ds = p + kAttentionTile * kAttentionKeyBlock;
  copy_rows<V>(rows.k, rows.kv_stride, n, dim, k, dim);
  copy_rows<V>(rows.v, rows.kv_stride, n, dim, v, dim);
  clear<V>(dk, 2 * size);
  start_rows<V>(rows, delta);
  for (int64_t begin = 0; begin < n; begin += kAttentionKeyBlock) {
    const int64_t end = begin + kAttentionKeyBlock < n ? begin + kAttentionKeyBlock : n;
    for_each_tile(begin * rows.group, n * rows.group, BackwardTile<V>{rows, k, v, delta, dk, dv, p, ds, begin, end});
  }
  copy_rows<V>(dk, dim, n, dim, rows.dk, rows.kv_stride);
  copy_rows<V>(dv, dim, n, dim, rows.dv, rows.kv_stride);
}

}  // namespace pocketlora::vec
