#pragma once

#include "kernels/common/simd_avx2.h"

namespace pocketlora {

/// 16-bit integers of AVX2 for products of rows and 4-bit codes. Only for files that are compiled with its flags.
struct FixedAvx2 : Avx2 {
  using I = __m256i;  ///< 16 values
  using S = __m256i;  ///< 8 sums of products, 32 bits each
  /// Vectors of 32 columns.
  static constexpr int kVectors = 2;
  /// The largest integer of a scheme's values: a lane sums 8 products of 64 columns, 8 * 16383 * 16383 < 2^31.
  static constexpr float kCodeLimit = 16383.0f;

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

  /// 32 bytes of codes: the low nibbles to a, the high nibbles to b, in the order of quantize().
  static void decode(const uint8_t* codes, const CodeTable& table, I a[2], I b[2]) {
    const __m256i both = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes));
    const __m256i nibble = _mm256_set1_epi8(15);
    look_up(table, _mm256_and_si256(both, nibble), a);
    look_up(table, _mm256_and_si256(_mm256_srli_epi16(both, 4), nibble), b);
  }

  using Avx2::load;
  /// Loads for several uses: the compiler would otherwise repeat each as its uses' memory operand.
  template <int kCount>
  static void load(const int16_t* p, I out[kCount]) {
    for (int i = 0; i < kCount; ++i) out[i] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + 16 * i));
    if constexpr (kCount == 4) {
      asm("" : "+x"(out[0]), "+x"(out[1]), "+x"(out[2]), "+x"(out[3]));
    } else {
      static_assert(kCount == 2, "a span of 32 or 64 columns");
      asm("" : "+x"(out[0]), "+x"(out[1]));
    }
  }
  static S dot(I a, I b) { return _mm256_madd_epi16(a, b); }
  static S add(S a, S b) { return _mm256_add_epi32(a, b); }
  /// acc + scale * sums
  static F add_scaled(S sums, const float* scale, F acc) {
    return _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums), _mm256_broadcast_ss(scale), acc);
  }

  /// 64 columns as integers of at most `limit`; position p of 32 holds columns 0-7, 16-23, 8-15, 24-31. @return the
  /// scale: the largest magnitude / limit; not finite when a column is not.
  static float quantize(const float* x, float limit, int16_t* out) {
    // Compared as integers, a NaN is larger than infinity: it is not lost.
    const __m256i sign = _mm256_set1_epi32(0x7FFFFFFF);
    __m256i most = _mm256_setzero_si256();
    for (int i = 0; i < 64; i += 8) {
      most = _mm256_max_epi32(most, _mm256_and_si256(_mm256_castps_si256(Avx2::load(x + i)), sign));
    }
    __m128i half = _mm_max_epi32(_mm256_castsi256_si128(most), _mm256_extracti128_si256(most, 1));
    half = _mm_max_epi32(half, _mm_shuffle_epi32(half, 0x4E));
    half = _mm_max_epi32(half, _mm_shuffle_epi32(half, 0xB1));
    const float largest = _mm_cvtss_f32(_mm_castsi128_ps(half));
    const F inverse = set1(largest < kSmallest ? 0.0f : limit / largest);
    for (int i = 0; i < 64; i += 32) {
      __m256i c[4];
      for (int j = 0; j < 4; ++j) c[j] = _mm256_cvtps_epi32(mul(Avx2::load(x + i + 8 * j), inverse));
      store_pair(c[0], c[2], out + i);
      store_pair(c[1], c[3], out + i + 16);
    }
    return largest < kSmallest ? 0.0f : largest / limit;
  }

 private:
  // Below it, limit / largest would overflow; such a row adds nothing that fp32 could hold beside the others.
  static constexpr float kSmallest = 1e-30f;

  static void store_pair(__m256i a, __m256i b, int16_t* out) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xD8));
  }
  static void look_up(const CodeTable& table, __m256i index, I out[2]) {
    const __m256i low = _mm256_shuffle_epi8(table.low, index), high = _mm256_shuffle_epi8(table.high, index);
    out[0] = _mm256_unpacklo_epi8(low, high);
    out[1] = _mm256_unpackhi_epi8(low, high);
  }
};

}  // namespace pocketlora
