#pragma once

#include <cstdint>

#include "kernels/attention/stored_rows.h"
#include "kernels/common/vec_math.h"

/**
 * The products of attention for kQ query vectors at a time, which share one reading of the keys or values. A key's
 * score is the sum of its products in one fixed order and weighted rows are added in the order of the keys: the bits do
 * not depend on how vectors and keys were grouped into tiles and calls.
 */
namespace pocketlora::vec {

/** Keys of a register tile. */
template <class V, int kQ>
inline constexpr int kTileKeys = V::kAccumulators / kQ < 4 ? V::kAccumulators / kQ : 4;

template <class V, class Head, int kQ, int kK>
inline void accumulate_scores(const float* const* q, const uint8_t* const* k, int64_t d, int64_t lanes,
                              typename V::F* sums) {
  typename V::F key[kK];
  PL_UNROLL for (int c = 0; c < kK; ++c) key[c] = Head::load(k[c], d, lanes);
  PL_UNROLL for (int b = 0; b < kQ; ++b) {
    const auto query = load_count<V>(q[b] + d, lanes);
    PL_UNROLL for (int c = 0; c < kK; ++c) sums[b * kK + c] = V::fma(query, key[c], sums[b * kK + c]);
  }
}

/** scores[b · ld + j] = q[b] · key j for j < count; keys are `stride` bytes apart. The last keys of an incomplete tile
 * are computed in the same way. */
template <class V, class Head, int kQ>
void score_tile(const float* const* q, const uint8_t* keys, int64_t stride, int64_t count, int64_t dim, float* scores,
                int64_t ld) {
  constexpr int kK = kTileKeys<V, kQ>;
  for (int64_t j = 0; j < count; j += kK) {
    const int64_t valid = count - j < kK ? count - j : kK;
    const uint8_t* k[kK];
    PL_UNROLL for (int c = 0; c < kK; ++c) k[c] = keys + (j + (c < valid ? c : valid - 1)) * stride;
    typename V::F sums[kQ * kK];
    PL_UNROLL for (int s = 0; s < kQ * kK; ++s) sums[s] = V::zero();
    int64_t d = 0;
    for (; d + V::kLanes <= dim; d += V::kLanes) accumulate_scores<V, Head, kQ, kK>(q, k, d, V::kLanes, sums);
    if (d < dim) accumulate_scores<V, Head, kQ, kK>(q, k, d, dim - d, sums);
    float totals[kQ * kK];
    PL_UNROLL for (int s = 0; s < kQ * kK; s += 4) V::sum4(sums[s], sums[s + 1], sums[s + 2], sums[s + 3], totals + s);
    if constexpr (Head::kScaled) {
      PL_UNROLL for (int s = 0; s < kQ * kK; ++s) totals[s] *= Head::scale(k[s % kK]);
    }
    if (valid == kK) {
      PL_UNROLL for (int s = 0; s < kQ * kK; ++s) scores[s / kK * ld + j + s % kK] = totals[s];
    } else {
      for (int b = 0; b < kQ; ++b) {
        for (int64_t c = 0; c < valid; ++c) scores[b * ld + j + c] = totals[b * kK + c];
      }
    }
  }
}

/** kC vectors of columns (only the first `lanes` of the last) of: acc[b] += Σ_j weights[b · ld + j] · rows[j]. */
template <class V, class Head, int kQ, int kC>
inline void add_weighted_columns(const float* weights, int64_t ld, const uint8_t* rows, int64_t stride, int64_t count,
                                 int64_t lanes, float* const* acc, int64_t at) {
  typename V::F sums[kQ * kC];
  PL_UNROLL for (int b = 0; b < kQ; ++b) {
    PL_UNROLL for (int c = 0; c < kC; ++c) sums[b * kC + c] = load_count<V>(acc[b] + at + c * V::kLanes, lanes);
  }
  for (int64_t j = 0; j < count; ++j, rows += stride) {
    typename V::F row[kC];
    PL_UNROLL for (int c = 0; c < kC; ++c) row[c] = Head::load(rows, at + c * V::kLanes, lanes);
    PL_UNROLL for (int b = 0; b < kQ; ++b) {
      const auto weight = V::set1(weights[b * ld + j]);
      PL_UNROLL for (int c = 0; c < kC; ++c) sums[b * kC + c] = V::fma(weight, row[c], sums[b * kC + c]);
    }
  }
  PL_UNROLL for (int b = 0; b < kQ; ++b) {
    PL_UNROLL for (int c = 0; c < kC; ++c) store_count<V>(acc[b] + at + c * V::kLanes, sums[b * kC + c], lanes);
  }
}

/** acc[b][d] += Σ_j weights[b · ld + j] · rows[j][d], without the rows' scales, for j < count and d < dim. */
template <class V, class Head, int kQ>
void add_weighted_rows(const float* weights, int64_t ld, const uint8_t* rows, int64_t stride, int64_t count,
                       int64_t dim, float* const* acc) {
  if (count == 0) return;  // rows may be null
  constexpr int kC = V::kAccumulators / kQ < 4 ? V::kAccumulators / kQ : 4;
  int64_t d = 0;
  for (; d + kC * V::kLanes <= dim; d += kC * V::kLanes) {
    add_weighted_columns<V, Head, kQ, kC>(weights, ld, rows, stride, count, V::kLanes, acc, d);
  }
  for (; d + V::kLanes <= dim; d += V::kLanes) {
    add_weighted_columns<V, Head, kQ, 1>(weights, ld, rows, stride, count, V::kLanes, acc, d);
  }
  if (d < dim) add_weighted_columns<V, Head, kQ, 1>(weights, ld, rows, stride, count, dim - d, acc, d);
}

template <class V, int kQ, int kC>
inline void add_outer_columns(const float* weights, int64_t ld, const float* const* src, int64_t count, int64_t lanes,
                              float* dst, int64_t stride, int64_t at) {
  typename V::F x[kQ * kC];
  PL_UNROLL for (int b = 0; b < kQ; ++b) {
    PL_UNROLL for (int c = 0; c < kC; ++c) x[b * kC + c] = load_count<V>(src[b] + at + c * V::kLanes, lanes);
  }
  dst += at;
  for (int64_t j = 0; j < count; ++j, dst += stride) {
    typename V::F sums[kC];
    PL_UNROLL for (int c = 0; c < kC; ++c) sums[c] = load_count<V>(dst + c * V::kLanes, lanes);
    PL_UNROLL for (int b = 0; b < kQ; ++b) {
      const auto weight = V::set1(weights[b * ld + j]);
      PL_UNROLL for (int c = 0; c < kC; ++c) sums[c] = V::fma(weight, x[b * kC + c], sums[c]);
    }
    PL_UNROLL for (int c = 0; c < kC; ++c) store_count<V>(dst + c * V::kLanes, sums[c], lanes);
  }
}

/** dst[j][d] += Σ_b weights[b · ld + j] · src[b][d] for j < count and d < dim: the transpose of add_weighted_rows. */
template <class V, int kQ>
void add_outer(const float* weights, int64_t ld, const float* const* src, int64_t count, int64_t dim, float* dst,
               int64_t stride) {
  constexpr int kC = V::kAccumulators / kQ < 4 ? V::kAccumulators / kQ : 4;
  int64_t d = 0;
  for (; d + kC * V::kLanes <= dim; d += kC * V::kLanes) {
    add_outer_columns<V, kQ, kC>(weights, ld, src, count, V::kLanes, dst, stride, d);
  }
  for (; d + V::kLanes <= dim; d += V::kLanes) {
    add_outer_columns<V, kQ, 1>(weights, ld, src, count, V::kLanes, dst, stride, d);
  }
  if (d < dim) add_outer_columns<V, kQ, 1>(weights, ld, src, count, dim - d, dst, stride, d);
}

/** Calls f.run<kQ>(first) over [first, last) in tiles of 4, then 2, then 1. */
template <class F>
inline void for_each_tile(int64_t first, int64_t last, const F& f) {
  for (; first + 4 <= last; first += 4) f.template run<4>(first);
  if (first + 2 <= last) {
    f.template run<2>(first);
    first += 2;
  }
  if (first < last) f.template run<1>(first);
}

}  // namespace pocketlora::vec
