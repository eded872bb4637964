#include <immintrin.h>

#include "kernels/common/half.h"
#include "kernels/convert/convert.h"

namespace pocketlora {

bool to_half_avx2(const float* in, uint16_t* out, int64_t n) {
  const __m128i exponent = _mm_set1_epi16(0x7C00);
  __m128i infinite = _mm_setzero_si128();
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m128i half = _mm256_cvtps_ph(_mm256_loadu_ps(in + i), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    infinite = _mm_or_si128(infinite, _mm_cmpeq_epi16(_mm_and_si128(half, exponent), exponent));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + i), half);
  }
  bool finite = _mm_movemask_epi8(infinite) == 0;
  for (; i < n; ++i) {
    out[i] = float_to_half(in[i]);
    finite = finite && (out[i] & 0x7C00u) != 0x7C00u;
  }
  return finite;
}

void from_half_avx2(const uint16_t* in, float* out, int64_t n) {
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    _mm256_storeu_ps(out + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(in + i))));
  }
  for (; i < n; ++i) out[i] = half_to_float(in[i]);
}

bool to_bfloat16_avx2(const float* in, uint16_t* out, int64_t n) {
  const __m256i exponent = _mm256_set1_epi32(0x7F80), one = _mm256_set1_epi32(1), half = _mm256_set1_epi32(0x7FFF);
  __m256i infinite = _mm256_setzero_si256();
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m256 value = _mm256_loadu_ps(in + i);
    const __m256i bits = _mm256_castps_si256(value);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), one);
    const __m256i nearest = _mm256_srli_epi32(_mm256_add_epi32(bits, _mm256_add_epi32(odd, half)), 16);
    // Rounding up could turn a NaN into an infinity.
    const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(value, value, _CMP_UNORD_Q));
    const __m256i rounded = _mm256_blendv_epi8(nearest, _mm256_set1_epi32(0x7FC0), nan);
    infinite = _mm256_or_si256(infinite, _mm256_cmpeq_epi32(_mm256_and_si256(rounded, exponent), exponent));
    const __m128i packed = _mm_packus_epi32(_mm256_castsi256_si128(rounded), _mm256_extracti128_si256(rounded, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + i), packed);
  }
  bool finite = _mm256_testz_si256(infinite, infinite) != 0;
  for (; i < n; ++i) {
    out[i] = float_to_bfloat16(in[i]);
    finite = finite && (out[i] & 0x7F80u) != 0x7F80u;
  }
  return finite;
}

void from_bfloat16_avx2(const uint16_t* in, float* out, int64_t n) {
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(in + i)));
    _mm256_storeu_ps(out + i, _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16)));
  }
  for (; i < n; ++i) out[i] = bfloat16_to_float(in[i]);
}

}  // namespace pocketlora
