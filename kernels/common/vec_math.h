#pragma once

#include <cstdint>

#include "kernels/common/simd_math.h"

/**
 * Vector arithmetic shared by the ops, as templates over an instruction set's vocabulary (vec_avx2.h, vec_neon.h).
 * Everything here depends on V, so no code of one instruction set can be linked into another's.
 */
namespace pocketlora::vec {

/** Calls f(index, count) for every full vector of [0, n), then once for the rest when there is one. */
template <class V, class F>
inline void for_each_vector(int64_t n, F f) {
  int64_t i = 0;
  for (; i + V::kLanes <= n; i += V::kLanes) f(i, V::kLanes);
  if (i < n) f(i, n - i);
}

/** Loads `count` lanes, all of them or the first few. */
template <class V>
inline typename V::F load_count(const float* p, int64_t count) {
  return count == V::kLanes ? V::load(p) : V::load_first(p, count);
}

/** Stores `count` lanes, all of them or the first few. */
template <class V>
inline void store_count(float* p, typename V::F v, int64_t count) {
  if (count == V::kLanes) {
    V::store(p, v);
  } else {
    V::store_first(p, v, count);
  }
}

/** The logistic function σ(x) = 1 / (1 + exp(−x)). */
template <class V>
inline typename V::F sigmoid(typename V::F x) {
  const typename V::F one = V::set1(1.0f);
  return V::div(one, V::add(one, simd_exp<V>(V::sub(V::zero(), x))));
}

/** Σ a[i] · b[i]. */
template <class V>
inline float dot(const float* a, const float* b, int64_t n) {
  typename V::F sum = V::zero();
  for_each_vector<V>(n, [&](int64_t i, int64_t count) {
    sum = V::fma(load_count<V>(a + i, count), load_count<V>(b + i, count), sum);
  });
  return V::sum(sum);
}

}  // namespace pocketlora::vec
