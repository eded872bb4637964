#pragma once

#include "kernels/common/panel_avx512_vnni.h"

namespace pocketlora {

/// 8-bit integers of AVX-512 VNNI for products of few rows and whole panels of 4-bit codes (q4/panel_rows.h). Only for
/// files that are compiled with its flags.
///
/// The instruction multiplies unsigned with signed bytes, so a code's value has kOffset added; x comes with what that
/// adds to a sum, negated, and a sum starts from there. It adds in 32 bits: nothing saturates, and x may have all 8
/// bits.
struct BytesAvx512Vnni : PanelAvx512Vnni {
  using Few = BytesAvx512Vnni;
  static constexpr float kValueLimit = 127.0f, kCodeLimit = 127.0f;
  static constexpr int kRowsAtOnce = 1;
  static constexpr int64_t kScaleColumns = 64;
  /// 32 columns of x, then where the sums of either lane of a line start.
  static constexpr int64_t kUnitBytes = 40;
  /// The most columns whose integers the registers hold.
  static constexpr int kMostColumns = 64;

  using CodeTable = __m512i;
  static CodeTable code_table(const int16_t* values) {
    const __m128i bytes = _mm256_cvtepi16_epi8(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(values)));
    return _mm512_broadcast_i32x4(_mm_add_epi8(bytes, _mm_set1_epi8(kOffset)));
  }

  /// The integers of kColumns columns of a panel.
  template <int kColumns>
  struct Weights {
    __m512i even[kColumns / 8], odd[kColumns / 8];

    /// @param codes the first line's, at the first column.
    Weights(const uint8_t* codes, const CodeTable& table) {
      const __m512i nibble = _mm512_set1_epi8(15);
      PL_UNROLL for (int unit = 0; unit < kColumns / 32; ++unit) {
        Columns columns;
        turn(codes + 32 * unit, columns);
        PL_UNROLL for (int q = 0; q < 4; ++q) {
          even[4 * unit + q] = _mm512_shuffle_epi8(table, _mm512_and_si512(columns[q], nibble));
          odd[4 * unit + q] = _mm512_shuffle_epi8(table, _mm512_and_si512(_mm512_srli_epi16(columns[q], 4), nibble));
        }
      }
    }
  };

  /// sums += scale * x_scale * (w times kColumns columns of x)
  template <int kColumns>
  static void multiply(const Weights<kColumns>& w, const uint8_t* x, const Scales& scale, float x_scale, Sums& sums) {
    __m512i even = for_all(x + 32), odd = even;
    PL_UNROLL for (int q = 0; q < kColumns / 8; ++q) {
      const __m512i columns = for_all(x + q / 4 * kUnitBytes + q % 4 * 8);
      even = _mm512_dpbusd_epi32(even, w.even[q], columns);
      odd = _mm512_dpbusd_epi32(odd, w.odd[q], columns);
    }
    if constexpr (kColumns == 64) {
      const __m512i rest = for_all(x + kUnitBytes + 32);
      even = _mm512_add_epi32(even, rest);
      odd = _mm512_add_epi32(odd, rest);
    }
    const F by = set1(x_scale);
    sums.even = fma(_mm512_cvtepi32_ps(even), mul(scale.even, by), sums.even);
    sums.odd = fma(_mm512_cvtepi32_ps(odd), mul(scale.odd, by), sums.odd);
  }

  /// 64 columns times `inverse`, rounded to nearest even.
  static void quantize(const float* x, float inverse, uint8_t* out) {
    const F by = set1(inverse);
    for (int i = 0; i < 64; i += 32, out += kUnitBytes) {
      auto* bytes = reinterpret_cast<__m128i*>(out);
      for (int p = 0; p < 2; ++p) {
        _mm_storeu_si128(bytes + p, _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(mul(load(x + i + 16 * p), by))));
      }
      const __m256i both = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(out));
      const __m256i eight = _mm256_dpbusd_epi32(_mm256_setzero_si256(), _mm256_set1_epi8(kOffset), both);
      const __m128i four = _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
      const __m128i two = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4E));
      _mm_storel_epi64(bytes + 2, _mm_sub_epi32(_mm_setzero_si128(), two));
    }
  }

 private:
  static constexpr int kOffset = 127;
};

}  // namespace pocketlora
