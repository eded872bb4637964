#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/common/simd_avx512_vnni.h"
#include "kernels/common/simd_math.h"

namespace pocketlora {

/// What the 16-bit and the 8-bit integers of AVX-512 VNNI share where few rows meet whole panels of W
/// (q4/panel_rows.h). Only for files that are compiled with its flags.
///
/// Eight lines of a tile are turned: a vector holds the same 8 columns of all of them, two lanes a line. A lane of the
/// low nibbles is an even row of the panel then, of the high ones an odd row, and the scales of 16 rows are vectors.
struct PanelAvx512Vnni : Avx512 {
  /// Four vectors: columns [8q, 8q + 8) of 32 columns of all lines.
  using Columns = __m512i[4];

  /// @param codes the first of 32 bytes of the first of eight lines.
  static void turn(const uint8_t* codes, Columns columns) {
    // Two lines that are two apart, so that the lines come out in order.
    const __m512i a0 = half_lines(codes), a1 = half_lines(codes + 64);
    const __m512i a4 = half_lines(codes + 256), a5 = half_lines(codes + 320);
    const __m512i low = _mm512_unpacklo_epi64(a0, a1), high = _mm512_unpackhi_epi64(a0, a1);
    const __m512i low4 = _mm512_unpacklo_epi64(a4, a5), high4 = _mm512_unpackhi_epi64(a4, a5);
    columns[0] = _mm512_shuffle_i64x2(low, low4, 0x88);
    columns[1] = _mm512_shuffle_i64x2(high, high4, 0x88);
    columns[2] = _mm512_shuffle_i64x2(low, low4, 0xDD);
    columns[3] = _mm512_shuffle_i64x2(high, high4, 0xDD);
  }

  /// The scales of a panel's even rows and of its odd rows, two lanes a row. @param halves 16 of fp16.
  struct Scales {
    F even, odd;
  };
  static Scales scales(const uint8_t* halves) {
    const F all = _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(halves)));
    return {_mm512_moveldup_ps(all), _mm512_movehdup_ps(all)};
  }

  /// The sums of a panel with a row of x: of its even rows and of its odd ones.
  struct Sums {
    F even, odd;
  };
  static Sums no_sums() { return {zero(), zero()}; }
  static Sums scaled(const Sums& sums, F by, const Sums& add) {
    return {fma(sums.even, by, add.even), fma(sums.odd, by, add.odd)};
  }
  static void store_sums(const Sums& sums, float out[16]) {
    const F first = _mm512_mask_moveldup_ps(sums.even, 0xAAAA, sums.odd);
    const F second = _mm512_mask_movehdup_ps(sums.odd, 0x5555, sums.even);
    store(out, add(first, second));
  }

  /// @return the bits of the largest magnitude of 64 columns.
  static int32_t largest_bits(const float* x) {
    const __m512i sign = _mm512_set1_epi32(0x7FFFFFFF);
    __m512i most = _mm512_setzero_si512();
    for (int i = 0; i < 64; i += 16) {
      most = _mm512_max_epi32(most, _mm512_and_si512(_mm512_castps_si512(load(x + i)), sign));
    }
    return _mm512_reduce_max_epi32(most);
  }

 protected:
  /// 8 bytes of x for every line.
  static __m512i for_all(const uint8_t* x) {
    return _mm512_broadcastq_epi64(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(x)));
  }

 private:
  /// 32 bytes of a line and of the second next.
  static __m512i half_lines(const uint8_t* codes) {
    const __m512i first = _mm512_castsi256_si512(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes)));
    const __m256i second = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes + 128));
    return _mm512_mask_broadcast_i64x4(first, 0xF0, second);
  }
};

}  // namespace pocketlora
