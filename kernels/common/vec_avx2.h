#pragma once

#include <immintrin.h>

#include <cstdint>

namespace pocketlora::vec {

/** Eight fp32 lanes of AVX2 with FMA; the vocabulary of the templates in vec_math.h and the ops. */
struct Avx2 {
  static constexpr int64_t kLanes = 8;
  using Float = __m256;
  using Double = __m256d;  ///< half as many lanes

  static Float zero() { return _mm256_setzero_ps(); }
  static Float set(float v) { return _mm256_set1_ps(v); }
  static Float load(const float* p) { return _mm256_loadu_ps(p); }
  static void store(float* p, Float v) { _mm256_storeu_ps(p, v); }

  /** The first n < kLanes lanes; the others are 0 and their memory is not touched. */
  static Float load_first(const float* p, int64_t n) { return _mm256_maskload_ps(p, mask_first(n)); }
  static void store_first(float* p, Float v, int64_t n) { _mm256_maskstore_ps(p, mask_first(n), v); }

  static Float add(Float a, Float b) { return _mm256_add_ps(a, b); }
  static Float sub(Float a, Float b) { return _mm256_sub_ps(a, b); }
  static Float mul(Float a, Float b) { return _mm256_mul_ps(a, b); }
  static Float div(Float a, Float b) { return _mm256_div_ps(a, b); }
  static Float sqrt(Float a) { return _mm256_sqrt_ps(a); }
  static Float fma(Float a, Float b, Float c) { return _mm256_fmadd_ps(a, b, c); }    ///< a·b + c
  static Float fnma(Float a, Float b, Float c) { return _mm256_fnmadd_ps(a, b, c); }  ///< c − a·b

  /** min(max(x, low), high); a NaN stays a NaN (the second operand is returned for it). */
  static Float clamp(Float x, float low, float high) { return _mm256_min_ps(set(high), _mm256_max_ps(set(low), x)); }
  static Float max(Float a, Float b) { return _mm256_max_ps(a, b); }
  static Float round(Float a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }

  /** v · 2^n for integral n in [−252, 254], in two factors so that neither overflows nor denormals are lost. */
  static Float scale_by_power(Float v, Float n) {
    const __m256i whole = _mm256_cvtps_epi32(n);
    const __m256i half = _mm256_srai_epi32(whole, 1);
    return mul(mul(v, power(half)), power(_mm256_sub_epi32(whole, half)));
  }

  /** Sums of four vectors, each by the tree ((0+1)+(2+3)) + ((4+5)+(6+7)): one vector's sum does not depend on the
   * others. */
  static void sum4(Float a, Float b, Float c, Float d, float* sums) {
    const Float quads = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
    _mm_storeu_ps(sums, _mm_add_ps(_mm256_castps256_ps128(quads), _mm256_extractf128_ps(quads, 1)));
  }
  static float sum(Float a) {
    float sums[4];
    sum4(a, a, a, a, sums);
    return sums[0];
  }
  static float max_lane(Float a) {
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
  }

  static Double zero_double() { return _mm256_setzero_pd(); }
  /** sum + Σ of the squares of v's lower and upper half, in double. */
  static Double add_squares(Float v, Double sum) {
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
  static Float power(__m256i exponent) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(exponent, _mm256_set1_epi32(127)), 23));
  }
};

}  // namespace pocketlora::vec
