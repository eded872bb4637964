#pragma once

#if defined(__clang__)
#define PL_UNROLL _Pragma("unroll")
#else
#define PL_UNROLL _Pragma("GCC unroll 16")
#endif

/// For long functions of the vector types, which files of several instruction sets compile: what is not inlined is a
/// symbol, and the linker keeps one of them for all.
#define PL_INLINE inline __attribute__((always_inline))

namespace pocketlora {

/// x = n * ln 2 + r with |r| <= ln 2 / 2, and e^r - 1 = p: a polynomial whose last coefficients are economised.
template <class V>
struct ReducedExp {
  typename V::F n, p;
};

template <class V>
inline ReducedExp<V> reduce_exp(typename V::F x) {
  using F = typename V::F;
  const F n = V::round(V::mul(x, V::set1(1.44269504088896341f)));
  // ln 2 in two parts, so that n times the first is exact.
  F r = V::fnma(n, V::set1(0.693145751953125f), x);
  r = V::fnma(n, V::set1(1.428606765330187045e-6f), r);
  F p = V::set1(1.98527617612853646e-4f);
  p = V::fma(p, r, V::set1(1.39304355252534151e-3f));
  p = V::fma(p, r, V::set1(8.33336077630519867e-3f));
  p = V::fma(p, r, V::set1(4.16664853692054749e-2f));
  p = V::fma(p, r, V::set1(1.66666671633720398e-1f));
  p = V::fma(p, r, V::set1(0.5f));
  return {n, V::fma(V::mul(r, r), p, r)};
}

/// e^x within 1 unit in the last place for results that are normal numbers. Below the normal numbers the result goes
/// gradually to 0, above the largest number it is infinity; a NaN stays one.
template <class V>
inline typename V::F simd_exp(typename V::F x) {
  using F = typename V::F;
  // Beyond -104 the result is 0, beyond 89 infinity. The operands' order lets a NaN through on every instruction set.
  x = V::min(V::set1(89.0f), V::max(V::set1(-104.0f), x));
  const ReducedExp<V> e = reduce_exp<V>(x);
  const F p = V::add(e.p, V::set1(1.0f));
  // 2^n in two factors: n reaches from -150 to 128, one factor from -126 to 127.
  const F half = V::round(V::mul(e.n, V::set1(0.5f)));
  return V::mul(V::mul(p, V::pow2(half)), V::pow2(V::sub(e.n, half)));
}

/// tanh(x) within 4 units in the last place: m / (m + 2) with m = e^2x - 1 = 2^n * p + (2^n - 1), which cancels
/// nowhere. Beyond 10 it is 1; a NaN stays one.
template <class V>
inline typename V::F simd_tanh(typename V::F x) {
  using F = typename V::F;
  x = V::min(V::set1(10.0f), V::max(V::set1(-10.0f), x));
  const ReducedExp<V> e = reduce_exp<V>(V::add(x, x));
  const F power = V::pow2(e.n);
  const F m = V::fma(power, e.p, V::sub(power, V::set1(1.0f)));
  return V::div(m, V::add(m, V::set1(2.0f)));
}

}  // namespace pocketlora
