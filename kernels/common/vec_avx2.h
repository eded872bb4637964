#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/common/simd_avx2.h"

namespace pocketlora::vec {

/** Avx2 with what vec_math.h and the floating-point ops need besides. */
struct Avx2 : pocketlora::Avx2 {
  using Double = __m256d;  ///< half as many lanes
  /** Accumulators of a product that stay in registers beside its operands. */
  static constexpr int kAccumulators = 8;

  /** The first n < kLanes lanes; the others are 0 and their memory is not touched. */
  static F load_first(const float* p, int64_t n) { return _mm256_maskload_ps(p, mask_first(n)); }
  static void store_first(float* p, F v, int64_t n) { _mm256_maskstore_ps(p, mask_first(n), v); }

  /** kLanes halves, or kLanes signed bytes, to floats; any alignment. */
  static F load_half(const uint8_t* p) { return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
  static F load_int8(const uint8_t* p) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
  }
  /** To the nearest halves, ties to even. */
  static void store_half(uint8_t* p, F v) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
  }

  static F sqrt(F a) { return _mm256_sqrt_ps(a); }

  /** Sums of four vectors, each by the tree ((0+1)+(2+3)) + ((4+5)+(6+7)): one vector's sum does not depend on the
   * others. */
  static void sum4(F a, F b, F c, F d, float* sums) {
    const F quads = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
    _mm_storeu_ps(sums, _mm_add_ps(_mm256_castps256_ps128(quads), _mm256_extractf128_ps(quads, 1)));
  }

  static Double zero_double() { return _mm256_setzero_pd(); }
  /** sum + the squares of v's lower and upper half, in double. */
  static Double add_squares(F v, Double sum) {
    const Double low = _mm256_cvtps_pd(_mm256_castps256_ps128(v));
    const Double high = _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1));
    return _mm256_fmadd_pd(high, high, _mm256_fmadd_pd(low, low, sum));
  }
  static double sum_double(Double a) {
    const __m128d m = _mm_add_pd(_mm256_castpd256_pd128(a), _mm256_extractf128_pd(a, 1));
    return _mm_cvtsd_f64(_mm_add_sd(m, _mm_unpackhi_pd(m, m)));
  }

 private:
  static __m256i mask_first(int64_t n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
};

}  // namespace pocketlora::vec
