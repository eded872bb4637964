#pragma once

#include <cstdint>

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
inline typename V::Float load_count(const float* p, int64_t count) {
  return count == V::kLanes ? V::load(p) : V::load_first(p, count);
}

/** Stores `count` lanes, all of them or the first few. */
template <class V>
inline void store_count(float* p, typename V::Float v, int64_t count) {
  if (count == V::kLanes) {
    V::store(p, v);
  } else {
    V::store_first(p, v, count);
  }
}

/**
 * exp(x) within 1 ulp for results that are normal numbers: x = n·ln 2 + r, a polynomial of degree 7 in r ∈ [−ln 2 / 2,
 * ln 2 / 2] (Taylor's coefficients with the last ones economised, as in SLEEF's expf), scaled by 2^n. Underflows
 * gradually to 0; overflows to +Inf above 88.72; NaN stays NaN.
 */
template <class V>
inline typename V::Float exp(typename V::Float x) {
  using Float = typename V::Float;
  const Float clamped = V::clamp(x, -104.0f, 89.0f);  // beyond: 0 and +Inf
  const Float n = V::round(V::mul(clamped, V::set(1.44269504088896341f)));
  Float r = V::fnma(n, V::set(0.693145751953125f), clamped);
  r = V::fnma(n, V::set(1.428606765330187045e-6f), r);
  Float p = V::set(1.98527617612853646e-4f);
  p = V::fma(p, r, V::set(1.39304355252534151e-3f));
  p = V::fma(p, r, V::set(8.33336077630519867e-3f));
  p = V::fma(p, r, V::set(4.16664853692054749e-2f));
  p = V::fma(p, r, V::set(1.66666671633720398e-1f));
  p = V::fma(p, r, V::set(0.5f));
  p = V::add(V::fma(V::mul(r, r), p, r), V::set(1.0f));
  return V::scale_by_power(p, n);
}

/** The logistic function σ(x) = 1 / (1 + exp(−x)). */
template <class V>
inline typename V::Float sigmoid(typename V::Float x) {
  const typename V::Float one = V::set(1.0f);
  return V::div(one, V::add(one, exp<V>(V::sub(V::zero(), x))));
}

/** Σ a[i] · b[i]. */
template <class V>
inline float dot(const float* a, const float* b, int64_t n) {
  typename V::Float sum = V::zero();
  for_each_vector<V>(n, [&](int64_t i, int64_t count) {
    sum = V::fma(load_count<V>(a + i, count), load_count<V>(b + i, count), sum);
  });
  return V::sum(sum);
}

}  // namespace pocketlora::vec
