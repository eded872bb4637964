#pragma once

#include <cstring>

#include "kernels/common/fixed_avx2.h"
#include "kernels/common/simd_avx512_vnni.h"

namespace pocketlora {

/// 16-bit integers of AVX-512 VNNI for the products of many rows: a vector is a panel of 16 columns at two depths. The
/// members mean what they mean in FixedAvx2.
struct ManyInt16Avx512Vnni : Avx512 {
  using I = __m512i;
  using Sums = __m512i;
  static constexpr int kTileRows = 12, kTilePanels = 2;

  static Sums no_sums() { return _mm512_setzero_si512(); }
  static I load_pairs(const int16_t* p) { return _mm512_loadu_si512(p); }
  static I repeat_pair(const int16_t* p) {
    int32_t pair;
    std::memcpy(&pair, p, sizeof(pair));
    return _mm512_set1_epi32(pair);
  }
  static Sums multiply_add(I a, I b, Sums sums) {
    // As an intrinsic GCC loads the rows' pairs first, runs out of registers and copies the sums about.
    asm volatile("vpdpwssd %2, %1, %0" : "+v"(sums) : "v"(a), "v"(b));
    return sums;
  }
  static F to_floats(Sums sums) { return _mm512_cvtepi32_ps(sums); }

  static void round16(const float* x, F by, int16_t* out) {
    const __m512i integers = _mm512_cvtps_epi32(mul(load(x), by));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm512_cvtsepi32_epi16(integers));
  }

  static void transpose_pairs(const int16_t* rows, int64_t step, int16_t* out) {
    for (int64_t half = 0; half < 2; ++half, rows += 8, out += 4 * 32) {
      // Lane i of row j: four pairs of row 4 i + j.
      const F a = load_lanes(rows, 4 * step), b = load_lanes(rows + step, 4 * step);
      const F c = load_lanes(rows + 2 * step, 4 * step), d = load_lanes(rows + 3 * step, 4 * step);
      const F ab = _mm512_unpacklo_ps(a, b), cd = _mm512_unpacklo_ps(c, d);
      const F ab_high = _mm512_unpackhi_ps(a, b), cd_high = _mm512_unpackhi_ps(c, d);
      auto* to = reinterpret_cast<float*>(out);
      store(to, _mm512_shuffle_ps(ab, cd, 0x44));
      store(to + 16, _mm512_shuffle_ps(ab, cd, 0xEE));
      store(to + 32, _mm512_shuffle_ps(ab_high, cd_high, 0x44));
      store(to + 48, _mm512_shuffle_ps(ab_high, cd_high, 0xEE));
    }
  }

  /// The 16 integers of a scheme.
  struct CodeTable {
    __m256i values;
  };
  static CodeTable code_table(const int16_t* values) {
    return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(values))};
  }
  /// The permutation reads the low 4 bits of each index: the low nibbles need no mask.
  static void decode_rows(const uint8_t* codes, const CodeTable& table, int16_t* even, int16_t* odd) {
    const __m256i both = _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(codes)));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(even), _mm256_permutexvar_epi16(both, table.values));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(odd),
                        _mm256_permutexvar_epi16(_mm256_srli_epi16(both, 4), table.values));
  }

  /// The quarters of a scheme's values, so that packing() two vectors of 32 bits leaves them in order, twice.
  struct Codebook {
    F even_quarters, odd_quarters;
  };
  static Codebook codebook(const float* values) {
    const F all = load(values);
    return {_mm512_shuffle_f32x4(all, all, 0x88), _mm512_shuffle_f32x4(all, all, 0xDD)};
  }
  /// The integers of the odd row, then those of the even one.
  struct PairTable {
    __m512i values;
  };
  static PairTable pair_table(const Codebook& codebook, float even, float odd) {
    const F by = _mm512_mask_broadcastss_ps(set1(even), 0x00FF, _mm_set_ss(odd));
    return {_mm512_packs_epi32(_mm512_cvtps_epi32(mul(codebook.even_quarters, by)),
                               _mm512_cvtps_epi32(mul(codebook.odd_quarters, by)))};
  }
  static void decode_columns(const uint8_t* codes, const PairTable& table, int16_t* first, int16_t* second) {
    decode_panel(codes, table, first);
    decode_panel(codes + 16, table, second);
  }

 private:
  /// 8 integers each of rows `step` apart.
  static F load_lanes(const int16_t* p, int64_t step) {
    const auto lane = [&](int64_t i) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p + i * step)); };
    const __m512i two = _mm512_inserti32x4(_mm512_castsi128_si512(lane(0)), lane(1), 1);
    return _mm512_castsi512_ps(_mm512_inserti32x4(_mm512_inserti32x4(two, lane(2), 2), lane(3), 3));
  }
  static void decode_panel(const uint8_t* codes, const PairTable& table, int16_t* out) {
    const __m512i both = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(codes)));
    // Of each index the permutation reads 5 bits: the low half of a code has the even row's and a fifth bit of 1, the
    // high half the odd row's and one of 0.
    const __m512i index = _mm512_or_si512(_mm512_or_si512(both, _mm512_slli_epi32(both, 12)), _mm512_set1_epi32(16));
    _mm512_storeu_si512(out, _mm512_permutexvar_epi16(index, table.values));
  }
};

/// 16-bit integers of AVX-512 VNNI.
struct FixedAvx512Vnni : FixedAvx2 {
  using Many = ManyInt16Avx512Vnni;
};

}  // namespace pocketlora
