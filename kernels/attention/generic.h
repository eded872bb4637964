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

/** values[j] = cap · tanh(factor · values[j] / cap). @return the largest result; n > 0. */
template <class V>
inline float cap_and_largest(float* values, int64_t n, float factor, float cap) {
  const auto inner = V::set1(factor / cap), outer = V::set1(cap);
  const auto capped = [&](typename V::F v) { return V::mul(outer, simd_tanh<V>(V::mul(v, inner))); };
  auto lanes = V::set1(-cap);
  int64_t j = 0;
  for (; j + V::kLanes <= n; j += V::kLanes) {
    const auto score = capped(V::load(values + j));
    V::store(values + j, score);
    lanes = V::max(lanes, score);
  }
  if (j < n) V::store_first(values + j, capped(V::load_first(values + j, n - j)), n - j);
  float largest = V::maximum(lanes);
  for (; j < n; ++j) largest = values[j] > largest ? values[j] : largest;
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

/** kQ query vectors; vector t of a block is the head t % group of row t / group. Keys are counted from the first cached
 * one, scores from the tile's first key. */
template <class V, class Head>
struct ForwardTile {
  const AttentionRows& rows;

  template <int kQ>
  void run(int64_t first) const {
    const int64_t dim = rows.head_dim, begin = rows.first_key(row_of(first));
    const int64_t end = keys_seen(first + kQ - 1), ld = end - begin;
    const float* q[kQ];
    float* out[kQ];
    for (int b = 0; b < kQ; ++b) {
      const int64_t at = row_of(first + b) * rows.q_stride + (first + b) % rows.group * dim;
      q[b] = rows.q + at;
      out[b] = rows.out + at;
    }
    for_each_block(rows.k_cache, rows.k, begin, end, [&](int64_t key, const uint8_t* keys, int64_t count) {
      score_tile<V, Head, kQ>(q, keys, rows.kv_bytes, count, dim, rows.scores + key - begin, ld);
    });
    float total[kQ];
    for (int b = 0; b < kQ; ++b) {
      total[b] = softmax(first + b, rows.scores + b * ld + rows.first_key(row_of(first + b)) - begin);
      for_each_vector<V>(dim, [&](int64_t d, int64_t lanes) { store_count<V>(out[b] + d, V::zero(), lanes); });
    }
    add_values<kQ>(first, begin, ld, out);
    for (int b = 0; b < kQ; ++b) {
      const auto divisor = V::set1(total[b]);
      for_each_vector<V>(dim, [&](int64_t d, int64_t lanes) {
        store_count<V>(out[b] + d, V::div(load_count<V>(out[b] + d, lanes), divisor), lanes);
      });
    }
  }

  int64_t row_of(int64_t t) const { return t / rows.group; }
  /** One past the last key of a vector. */
  int64_t keys_seen(int64_t t) const { return rows.past + row_of(t) + 1; }

  /** Calls f(key, its row, count) for the keys of [begin, end), a few at a time: first the cached, then the new ones.
   */
  template <class F>
  void for_each_block(const uint8_t* cached, const uint8_t* fresh, int64_t begin, int64_t end, F f) const {
    const int64_t past = rows.past, middle = end < past ? end : past;
    if (begin < middle) blocks_of(cached + begin * rows.kv_bytes, begin, middle - begin, f);
    const int64_t rest = begin < past ? past : begin;
    if (rest < end) blocks_of(fresh + (rest - past) * rows.kv_bytes, rest, end - rest, f);
  }

  template <class F>
  void blocks_of(const uint8_t* data, int64_t key, int64_t count, F f) const {
    constexpr int64_t kBlock = 32;
    // A single row reads each key once: rows so far apart are not foreseen by the processor.
    const bool once = rows.row_end - rows.row_begin == 1;
    const int64_t head_bytes = cache_head_bytes(rows.format, rows.head_dim);
    for (int64_t j = 0; j < count; j += kBlock) {
      const int64_t next = j + kBlock, after = next + kBlock < count ? next + kBlock : count;
      for (int64_t i = next; once && i < after; ++i) {
        for (int64_t at = 0; at < head_bytes; at += 64) V::prefetch(data + i * rows.kv_bytes + at);
      }
      f(key + j, data + j * rows.kv_bytes, next < count ? kBlock : count - j);
    }
  }

  /** Turns the scores of a vector's own keys into exp(s − maximum), stores its lse. @return their sum. */
  float softmax(int64_t t, float* scores) const {
    const int64_t n_keys = keys_seen(t) - rows.first_key(row_of(t));
    const float maximum = rows.softcap > 0 ? cap_and_largest<V>(scores, n_keys, rows.scale, rows.softcap)
                                           : scale_and_largest<V>(scores, n_keys, rows.scale);
    const float sum = exp_and_sum<V>(scores, n_keys, maximum);
    if (rows.lse != nullptr) rows.lse[row_of(t) * rows.lse_stride + t % rows.group] = maximum + std::log(sum);
    return sum;
  }

  /** The values of each vector's keys in their order: its own first ones, those that all vectors see, its own last. */
  template <int kQ>
  void add_values(int64_t first, int64_t begin, int64_t ld, float* const* out) const {
    int64_t common = rows.first_key(row_of(first + kQ - 1)), end = keys_seen(first);
    if (common > end) common = end = begin;  // no key is seen by all
    for (int b = 0; b < kQ; ++b) {
      add_range<1>(rows.first_key(row_of(first + b)), common, begin, rows.scores + b * ld, ld, out + b);
    }
    add_range<kQ>(common, end, begin, rows.scores, ld, out);
    for (int b = 0; b < kQ; ++b) {
      const int64_t own = rows.first_key(row_of(first + b));
      add_range<1>(own < end ? end : own, keys_seen(first + b), begin, rows.scores + b * ld, ld, out + b);
    }
  }

  /** Adds the keys [begin, end); weights[b · ld] are those of the key `origin`. */
  template <int kQ>
  void add_range(int64_t begin, int64_t end, int64_t origin, float* weights, int64_t ld, float* const* out) const {
    for_each_block(rows.v_cache, rows.v, begin, end, [&](int64_t key, const uint8_t* values, int64_t count) {
      float* own = weights + (key - origin);
      if constexpr (Head::kScaled) scale_weights<kQ>(own, ld, values, count);
      add_weighted_rows<V, Head, kQ>(own, ld, values, rows.kv_bytes, count, rows.head_dim, out);
    });
  }

  /** Multiplies weights by the scales of their rows; every weight is used once. */
  template <int kQ>
  void scale_weights(float* weights, int64_t ld, const uint8_t* values, int64_t count) const {
    for (int64_t j = 0; j < count; ++j) {
      const float scale = Head::scale(values + j * rows.kv_bytes);
      PL_UNROLL for (int b = 0; b < kQ; ++b) weights[b * ld + j] *= scale;
    }
  }
};

template <class V, class Head>
void attend(const AttentionRows& rows) {
  for_each_tile(rows.row_begin * rows.group, rows.row_end * rows.group, ForwardTile<V, Head>{rows});
}

template <class V>
void attention_rows(const AttentionRows& rows) {
  switch (rows.format) {
    case CacheFormat::kFloat32:
      return attend<V, Float32Head<V>>(rows);
    case CacheFormat::kFloat16:
      return attend<V, Float16Head<V>>(rows);
    case CacheFormat::kInt8:
      return attend<V, Int8Head<V>>(rows);
  }
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
    using Head = Float32Head<V>;
    const int64_t bytes = dim * static_cast<int64_t>(sizeof(float));
    const auto* keys = reinterpret_cast<const uint8_t*>(k + begin * dim);
    score_tile<V, Head, kQ>(q, keys, bytes, count, dim, p, ld);
    score_tile<V, Head, kQ>(dout, reinterpret_cast<const uint8_t*>(v + begin * dim), bytes, count, dim, ds, ld);
    for (int b = 0; b < kQ; ++b) probabilities(first + b, p + b * ld, ds + b * ld);
    add_weighted_rows<V, Head, kQ>(ds, ld, keys, bytes, count, dim, dq);
    add_outer<V, kQ>(ds, ld, q, count, dim, dk + begin * dim, dim);
    add_outer<V, kQ>(p, ld, dout, count, dim, dv + begin * dim, dim);
  }

  /** From the products q·k and dout·v of a vector to P and dS; 0 for keys that its row does not see. */
  void probabilities(int64_t t, float* pt, float* dst) const {
    const int64_t row = t / rows.group, seen = (row + 1 < end ? row + 1 : end) - begin;
    const int64_t oldest = rows.window > 0 ? row + 1 - rows.window - begin : 0, hidden = oldest > 0 ? oldest : 0;
    const float lse = rows.lse[row * rows.lse_stride + t % rows.group];
    for (int64_t j = 0; j < hidden; ++j) pt[j] = dst[j] = 0;
    if (rows.softcap > 0) {
      seen_probabilities<true>(pt + hidden, dst + hidden, seen - hidden, lse, delta[t]);
    } else {
      seen_probabilities<false>(pt + hidden, dst + hidden, seen - hidden, lse, delta[t]);
    }
    for (int64_t j = seen; j < end - begin; ++j) pt[j] = dst[j] = 0;
  }

  template <bool kCapped>
  void seen_probabilities(float* pt, float* dst, int64_t n, float row_lse, float row_delta) const {
    const auto lse = V::set1(row_lse), shift = V::set1(row_delta), scale = V::set1(rows.scale);
    const auto cap = V::set1(rows.softcap), inner = V::set1(kCapped ? rows.scale / rows.softcap : 0);
    for_each_vector<V>(n, [&](int64_t j, int64_t lanes) {
      const auto product = load_count<V>(pt + j, lanes);
      auto score = V::mul(product, scale), slope = scale;
      if constexpr (kCapped) {
        const auto t = simd_tanh<V>(V::mul(product, inner));
        score = V::mul(cap, t);
        slope = V::mul(scale, V::fnma(t, t, V::set1(1.0f)));
      }
      const auto e = simd_exp<V>(V::sub(score, lse));
      store_count<V>(pt + j, e, lanes);
      store_count<V>(dst + j, V::mul(V::mul(e, V::sub(load_count<V>(dst + j, lanes), shift)), slope), lanes);
    });
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
    // The last row that sees a key of the block.
    const int64_t last = rows.window > 0 && end - 1 + rows.window < n ? end - 1 + rows.window : n;
    for_each_tile(begin * rows.group, last * rows.group, BackwardTile<V>{rows, k, v, delta, dk, dv, p, ds, begin, end});
  }
  copy_rows<V>(dk, dim, n, dim, rows.dk, rows.kv_stride);
  copy_rows<V>(dv, dim, n, dim, rows.dv, rows.kv_stride);
}

}  // namespace pocketlora::vec
