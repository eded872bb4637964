#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/common/simd_avx512.h"

namespace pocketlora::vec {

/** Avx512 with what vec_math.h and the floating-point ops need besides. The members mean what they mean in vec::Avx2.
 */
struct Avx512 : pocketlora::Avx512 {
  using Double = __m512d;
  static constexpr int kAccumulators = 16;

  static F load_first(const float* p, int64_t n) { return _mm512_maskz_loadu_ps(mask_first(n), p); }
  static void store_first(float* p, F v, int64_t n) { _mm512_mask_storeu_ps(p, mask_first(n), v); }

  static F load_half(const uint8_t* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static F load_int8(const uint8_t* p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
  }
  static void store_half(uint8_t* p, F v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
  }

  static F sqrt(F a) { return _mm512_sqrt_ps(a); }

  /** Each by the tree of eight sums of two lanes eight apart. */
  static void sum4(F a, F b, F c, F d, float* sums) {
    const __m256 quads = _mm256_hadd_ps(_mm256_hadd_ps(halves(a), halves(b)), _mm256_hadd_ps(halves(c), halves(d)));
    _mm_storeu_ps(sums, _mm_add_ps(_mm256_castps256_ps128(quads), _mm256_extractf128_ps(quads, 1)));
  }

  static Double zero_double() { return _mm512_setzero_pd(); }
  static Double add_squares(F v, Double sum) {
    const Double low = _mm512_cvtps_pd(_mm512_castps512_ps256(v));
    const Double high = _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1));
    return _mm512_fmadd_pd(high, high, _mm512_fmadd_pd(low, low, sum));
  }
  static double sum_double(Double a) { return _mm512_reduce_add_pd(a); }

 private:
  static __mmask16 mask_first(int64_t n) { return static_cast<__mmask16>((1u << n) - 1u); }
  static __m256 halves(F v) { return _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1)); }
};

}  // namespace pocketlora::vec
