#pragma once

#include <cstring>

#include "kernels/common/integers_avx2.h"

namespace pocketlora {

/// 16-bit integers of AVX2 for products of rows and 4-bit codes. Only for files that are compiled with its flags.
struct FixedAvx2 : IntegersAvx2 {
  using I = __m256i;  ///< 8 values of the even row of a pair, and 8 of the odd one
  /// The largest integer of x, and of a scheme's values: a lane sums 16 products, 16 * 8191 * 16383 < 2^31.
  static constexpr float kValueLimit = 16383.0f, kCodeLimit = 8191.0f;
  /// Columns of x that share a scale. More than a span: multiply() leaves it out.
  static constexpr int64_t kScaleColumns = 1024;
  /// 32 columns of x, stored twice: 8 columns for either half of a vector.
  static constexpr int64_t kUnitBytes = 128;
  /// Vectors of 32 columns of a row pair.
  static constexpr int kPairVectors = 4;

  /// The 16 integers of a scheme: their low and their high bytes.
  struct CodeTable {
    __m256i low, high;
  };
  static CodeTable code_table(const int16_t* values) {
    const __m256i all = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(values));
    const __m256i mask = _mm256_set1_epi16(255);
    const __m256i low =
        _mm256_permute4x64_epi64(_mm256_packus_epi16(_mm256_and_si256(all, mask), _mm256_setzero_si256()), 0x08);
    const __m256i high =
        _mm256_permute4x64_epi64(_mm256_packus_epi16(_mm256_srli_epi16(all, 8), _mm256_setzero_si256()), 0x08);
    return {_mm256_broadcastsi128_si256(_mm256_castsi256_si128(low)),
            _mm256_broadcastsi128_si256(_mm256_castsi256_si128(high))};
  }

  /// kColumns bytes of codes, the even row's in the low nibbles, as the integers of a row pair.
  template <int kColumns>
  static void decode(const uint8_t* codes, const CodeTable& table, I w[kColumns / 8]) {
    const __m256i shift = _mm256_setr_epi32(0, 0, 0, 0, 4, 4, 4, 4), nibble = _mm256_set1_epi8(15);
    for (int i = 0; i < kColumns / 16; ++i) {
      const __m256i both =
          _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(codes + 16 * i)));
      const __m256i index = _mm256_and_si256(_mm256_srlv_epi32(both, shift), nibble);
      const __m256i low = _mm256_shuffle_epi8(table.low, index), high = _mm256_shuffle_epi8(table.high, index);
      w[2 * i] = _mm256_unpacklo_epi8(low, high);
      w[2 * i + 1] = _mm256_unpackhi_epi8(low, high);
    }
  }

  /// sums += scale * (w times kColumns columns of x)
  template <int kColumns>
  static void multiply(const I w[kColumns / 8], const uint8_t* x, PairScale scale, float, F sums[kPairSums]) {
    sums[0] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot<kColumns / 8>(w, x)), scale, sums[0]);
  }

  /// There are products of many rows as well, for which Many has the members from here on.
  static constexpr bool kManyRows = true;
  using Many = FixedAvx2;
  /// Panels in a register tile of kTileRows rows.
  static constexpr int kTilePanels = 1;
  /// The 32-bit sums of 8 columns.
  using Sums = __m256i;

  static Sums no_sums() { return _mm256_setzero_si256(); }
  /// 8 columns at two depths, the two of a column side by side.
  static I load_pairs(const int16_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
  /// Two values of a row, for 8 columns.
  static I repeat_pair(const int16_t* p) {
    int32_t pair;
    std::memcpy(&pair, p, sizeof(pair));
    return _mm256_set1_epi32(pair);
  }
  static Sums multiply_add(I a, I b, Sums sums) {
    sums = _mm256_add_epi32(sums, _mm256_madd_epi16(a, b));
    // GCC would gather the products first and run out of registers.
    asm volatile("" : "+x"(sums));
    return sums;
  }
  static F to_floats(Sums sums) { return _mm256_cvtepi32_ps(sums); }

  /// 16 values times `by`, rounded to nearest even; beyond 16 bits they saturate.
  static void round16(const float* x, F by, int16_t* out) {
    const __m256i a = _mm256_cvtps_epi32(mul(load(x), by)), b = _mm256_cvtps_epi32(mul(load(x + 8), by));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xD8));
  }

  /// 16 rows of 8 pairs, `step` integers apart, as 8 times the pairs of 16 rows.
  static void transpose_pairs(const int16_t* rows, int64_t step, int16_t* out) {
    // Two integers are moved as one float.
    for (int64_t i = 0; i < 16; i += 8) {
      transpose(reinterpret_cast<const float*>(rows + i * step), step / 2, reinterpret_cast<float*>(out) + i, 16);
    }
  }

  /// 16 bytes of codes as the integers of 16 columns of the even and of the odd row.
  static void decode_rows(const uint8_t* codes, const CodeTable& table, int16_t* even, int16_t* odd) {
    I w[2];
    decode<16>(codes, table, w);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(even), _mm256_permute2x128_si256(w[0], w[1], 0x20));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(odd), _mm256_permute2x128_si256(w[0], w[1], 0x31));
  }

  /// A scheme's values times a factor as integers, for a row pair.
  struct PairTable {
    CodeTable even, odd;
  };
  static PairTable pair_table(const Codebook& codebook, float even, float odd) {
    return {scaled_table(codebook, even), scaled_table(codebook, odd)};
  }
  static CodeTable scaled_table(const Codebook& codebook, float factor) {
    const F by = set1(factor);
    const __m256i a = _mm256_cvtps_epi32(mul(codebook.low, by)), b = _mm256_cvtps_epi32(mul(codebook.high, by));
    const __m256i all = _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xD8);
    const __m256i low = _mm256_and_si256(all, _mm256_set1_epi16(255)), high = _mm256_srli_epi16(all, 8);
    const __m256i bytes = _mm256_permute4x64_epi64(_mm256_packus_epi16(low, high), 0xD8);
    return {_mm256_permute2x128_si256(bytes, bytes, 0x00), _mm256_permute2x128_si256(bytes, bytes, 0x11)};
  }

  /// 32 bytes of codes as 32 columns of a row pair, the two rows of a column side by side: 16 columns to `first`, 16 to
  /// `second`.
  static void decode_columns(const uint8_t* codes, const PairTable& table, int16_t* first, int16_t* second) {
    const CodeTable &even = table.even, &odd = table.odd;
    const __m256i both = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes)), nibble = _mm256_set1_epi8(15);
    const __m256i i = _mm256_and_si256(both, nibble), j = _mm256_and_si256(_mm256_srli_epi16(both, 4), nibble);
    const __m256i low = _mm256_shuffle_epi8(even.low, i), high = _mm256_shuffle_epi8(even.high, i);
    const __m256i odd_low = _mm256_shuffle_epi8(odd.low, j), odd_high = _mm256_shuffle_epi8(odd.high, j);
    interleave(_mm256_unpacklo_epi8(low, high), _mm256_unpacklo_epi8(odd_low, odd_high), first, second);
    interleave(_mm256_unpackhi_epi8(low, high), _mm256_unpackhi_epi8(odd_low, odd_high), first + 16, second + 16);
  }

  /// 64 columns times `inverse`, rounded to nearest even, 8 columns twice at a time.
  static void quantize(const float* x, float inverse, uint8_t* out) {
    const F by = set1(inverse);
    for (int i = 0; i < 64; i += 16, out += 64) {
      const __m256i a = _mm256_cvtps_epi32(mul(load(x + i), by)), b = _mm256_cvtps_epi32(mul(load(x + i + 8), by));
      const __m256i both = _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xD8);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm256_permute2x128_si256(both, both, 0x00));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + 32), _mm256_permute2x128_si256(both, both, 0x11));
    }
  }

 private:
  /// The 8 columns of the lower halves side by side, and those of the upper halves.
  static void interleave(__m256i even, __m256i odd, int16_t* lower, int16_t* upper) {
    const __m256i a = _mm256_unpacklo_epi16(even, odd), b = _mm256_unpackhi_epi16(even, odd);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(lower), _mm256_permute2x128_si256(a, b, 0x20));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(upper), _mm256_permute2x128_si256(a, b, 0x31));
  }
  /// The products' sums, added as a tree.
  template <int kVectors>
  static __m256i dot(const I* w, const uint8_t* x) {
    if constexpr (kVectors == 1) {
      return _mm256_madd_epi16(*w, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x)));
    } else {
      constexpr int kHalf = kVectors / 2;
      return _mm256_add_epi32(dot<kHalf>(w, x), dot<kVectors - kHalf>(w + kHalf, x + 32 * kHalf));
    }
  }
};

}  // namespace pocketlora
