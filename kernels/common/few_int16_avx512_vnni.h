#pragma once

#include "kernels/common/panel_avx512_vnni.h"

namespace pocketlora {

/// 16-bit integers of AVX-512 VNNI for products of few rows and whole panels of 4-bit codes (q4/panel_rows.h). Only for
/// files that are compiled with its flags. The members mean what they mean in BytesAvx512Vnni.
struct FewInt16Avx512Vnni : PanelAvx512Vnni {
  /// A lane sums 16 products: 16 * 8191 * 16383 < 2^31.
  static constexpr float kValueLimit = 16383.0f, kCodeLimit = 8191.0f;
  /// More than a span: multiply() leaves the scale of x out.
  static constexpr int64_t kScaleColumns = 1024;
  /// 32 columns of x. Of 8 columns the even ones come first, then the odd ones, as the words of a line have them.
  static constexpr int64_t kUnitBytes = 64;
  static constexpr int kMostColumns = 32;

  /// The 16 integers of a scheme, twice: bit 4 of an index does not matter.
  using CodeTable = __m512i;
  static CodeTable code_table(const int16_t* values) {
    return _mm512_broadcast_i64x4(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(values)));
  }

  template <int kColumns>
  struct Weights {
    static_assert(kColumns == 32, "a lane's sum fits 32 bits");
    __m512i even[8], odd[8];

    /// The look-up reads the low bits of each word: four codes, one after the other, need no mask.
    Weights(const uint8_t* codes, const CodeTable& table) {
      Columns columns;
      turn(codes, columns);
      PL_UNROLL for (int q = 0; q < 4; ++q) {
        even[2 * q] = _mm512_permutexvar_epi16(columns[q], table);
        odd[2 * q] = _mm512_permutexvar_epi16(_mm512_srli_epi16(columns[q], 4), table);
        even[2 * q + 1] = _mm512_permutexvar_epi16(_mm512_srli_epi16(columns[q], 8), table);
        odd[2 * q + 1] = _mm512_permutexvar_epi16(_mm512_srli_epi16(columns[q], 12), table);
      }
    }
  };

  /// sums += scale * (w times kColumns columns of x)
  template <int kColumns>
  static void multiply(const Weights<kColumns>& w, const uint8_t* x, const Scales& scale, float, Sums& sums) {
    __m512i even = _mm512_setzero_si512(), odd = even;
    PL_UNROLL for (int q = 0; q < 8; ++q) {
      const __m512i columns = for_all(x + 8 * q);
      even = _mm512_dpwssd_epi32(even, w.even[q], columns);
      odd = _mm512_dpwssd_epi32(odd, w.odd[q], columns);
    }
    sums.even = fma(_mm512_cvtepi32_ps(even), scale.even, sums.even);
    sums.odd = fma(_mm512_cvtepi32_ps(odd), scale.odd, sums.odd);
  }

  static void quantize(const float* x, float inverse, uint8_t* out) {
    const F by = set1(inverse);
    const __m512i order = _mm512_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15);
    for (int i = 0; i < 64; i += 16, out += 32) {
      const __m512i columns = _mm512_permutexvar_epi32(order, _mm512_cvtps_epi32(mul(load(x + i), by)));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm512_cvtsepi32_epi16(columns));
    }
  }
};

}  // namespace pocketlora
