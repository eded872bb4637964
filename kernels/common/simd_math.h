#pragma once

#if defined(__clang__)
#define PL_UNROLL _Pragma("unroll")
#else
#define PL_UNROLL _Pragma("GCC unroll 16")
#endif

namespace pocketlora {

/// e^x with a relative error of about 2 units in the last place. Below -87.3 the result is the smallest normal number's
/// neighbourhood (1e-38), above 88 about e^88: never a NaN or an infinity for a finite x. A NaN stays one.
template <class V>
typename V::F simd_exp(typename V::F x) {
  using F = typename V::F;
  // The operands' order lets a NaN through on every instruction set.
  x = V::min(V::set1(88.0f), V::max(V::set1(-87.3f), x));
  // x = n * ln 2 + r with |r| <= ln 2 / 2; ln 2 is split so that n * (its first part) is exact.
  const F n = V::round(V::mul(x, V::set1(1.44269504088896341f)));
  F r = V::fnma(n, V::set1(0.693359375f), x);
  r = V::fnma(n, V::set1(-2.12194440e-4f), r);
  // Taylor to the seventh power: the remainder is below 2^-27 on |r| <= 0.3466.
  F p = V::set1(1.0f / 5040.0f);
  p = V::fma(p, r, V::set1(1.0f / 720.0f));
  p = V::fma(p, r, V::set1(1.0f / 120.0f));
  p = V::fma(p, r, V::set1(1.0f / 24.0f));
  p = V::fma(p, r, V::set1(1.0f / 6.0f));
  p = V::fma(p, r, V::set1(0.5f));
  p = V::fma(p, r, V::set1(1.0f));
  p = V::fma(p, r, V::set1(1.0f));
  return V::mul(p, V::pow2(n));
}

}  // namespace pocketlora
