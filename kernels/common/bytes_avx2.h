#pragma once

#include "kernels/common/integers_avx2.h"

namespace pocketlora {

/// 8-bit integers of AVX2 for products of rows and 4-bit codes. Only for files that are compiled with its flags. The
/// members mean what they mean in FixedAvx2.
///
/// The instruction multiplies unsigned with signed bytes and adds two products in 16 bits, so a code's value has
/// kOffset added. Four products of a lane go beyond 16 bits then and wrap around; x comes with kOffset times its own
/// four columns, and what is left after subtracting that is exact: 4 * 127 * 63 < 2^15.
///
/// The codebook has the finer integers: its rounding is the same wherever a code stands, that of x averages out.
struct BytesAvx2 : IntegersAvx2 {
  using I = __m256i;  ///< 16 values of the even row of a pair, and 16 of the odd one
  static constexpr float kValueLimit = 63.0f, kCodeLimit = 127.0f;
  static constexpr int64_t kScaleColumns = 64;
  /// 32 columns of x, 16 for either half of a vector, then kOffset times the sums of columns 2j, 2j + 1, 2j + 16 and
  /// 2j + 17 as int16: all twice over, to be the instructions' own operands.
  static constexpr int64_t kUnitBytes = 96;
  static constexpr int kPairVectors = 2;

  using CodeTable = __m256i;
  static CodeTable code_table(const int16_t* values) {
    const __m256i all = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(values));
    const __m256i bytes = _mm256_packs_epi16(all, all);
    const __m256i table = _mm256_permute4x64_epi64(bytes, 0x88);
    return _mm256_add_epi8(table, _mm256_set1_epi8(kOffset));
  }

  template <int kColumns>
  static void decode(const uint8_t* codes, CodeTable table, I w[kColumns / 16]) {
    const __m256i shift = _mm256_setr_epi32(0, 0, 0, 0, 4, 4, 4, 4), nibble = _mm256_set1_epi8(15);
    for (int i = 0; i < kColumns / 16; ++i) {
      const __m256i index = _mm256_and_si256(_mm256_srlv_epi32(twice(codes + 16 * i), shift), nibble);
      w[i] = _mm256_shuffle_epi8(table, index);
    }
  }

  template <int kColumns>
  static void multiply(const I w[kColumns / 16], const uint8_t* x, PairScale scale, float x_scale, F sums[kPairSums]) {
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i sum = _mm256_madd_epi16(unit(w, x), ones);
    if constexpr (kColumns == 64) sum = _mm256_add_epi32(sum, _mm256_madd_epi16(unit(w + 2, x + kUnitBytes), ones));
    sums[0] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), mul(scale, set1(x_scale)), sums[0]);
  }

  /// 64 columns times `inverse`, rounded to nearest even.
  static void quantize(const float* x, float inverse, uint8_t* out) {
    const F by = set1(inverse);
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    for (int i = 0; i < 64; i += 32, out += kUnitBytes) {
      __m256i part[4];
      for (int p = 0; p < 4; ++p) part[p] = _mm256_cvtps_epi32(mul(load(x + i + 8 * p), by));
      const __m256i mixed =
          _mm256_packs_epi16(_mm256_packs_epi32(part[0], part[1]), _mm256_packs_epi32(part[2], part[3]));
      const __m256i bytes = _mm256_permutevar8x32_epi32(mixed, order);
      store_pair(bytes, out);
      const __m256i sums = _mm256_maddubs_epi16(_mm256_set1_epi8(kOffset), bytes);
      const __m256i four = _mm256_add_epi16(sums, _mm256_permute2x128_si256(sums, sums, 0x01));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + 64), four);
    }
  }

 private:
  static constexpr int kOffset = 127;

  static __m256i twice(const uint8_t* bytes) {
    return _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes)));
  }
  static __m256i at(const uint8_t* bytes) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes)); }
  static void store_pair(__m256i v, uint8_t* out) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm256_permute2x128_si256(v, v, 0x00));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + 32), _mm256_permute2x128_si256(v, v, 0x11));
  }
  /// 32 columns: 8 sums of four products of the even row, and 8 of the odd one.
  static __m256i unit(const I* w, const uint8_t* x) {
    const __m256i products =
        _mm256_add_epi16(_mm256_maddubs_epi16(w[0], at(x)), _mm256_maddubs_epi16(w[1], at(x + 32)));
    return _mm256_sub_epi16(products, at(x + 64));
  }
};

}  // namespace pocketlora
