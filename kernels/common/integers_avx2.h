#pragma once

#include "kernels/common/simd_avx2.h"

namespace pocketlora {

/// What the 16-bit and the 8-bit integers of AVX2 share (common/fixed_avx2.h, common/bytes_avx2.h). Only for files that
/// are compiled with its flags.
struct IntegersAvx2 : Avx2 {
  /// Row pairs that are decoded at once, and rows of x that are multiplied at once (2: q4/paired_rows.h).
  static constexpr int kPairs = 1, kRowsAtOnce = 1;
  /// Vectors of sums of a row pair: the even row's four lanes, then the odd row's.
  static constexpr int kPairSums = 1;
  /// The scales of a row pair.
  using PairScale = F;

  static PairScale pair_scale(const float* scales) {
    return _mm256_blend_ps(_mm256_broadcast_ss(scales), _mm256_broadcast_ss(scales + 1), 0xF0);
  }

  /// The sums of the even and of the odd row.
  static void pair_sum(const F sums[kPairSums], float out[2]) {
    const __m128 pairs = _mm_hadd_ps(_mm256_castps256_ps128(sums[0]), _mm256_extractf128_ps(sums[0], 1));
    _mm_storel_pi(reinterpret_cast<__m64*>(out), _mm_hadd_ps(pairs, pairs));
  }

  /// @return the bits of the largest magnitude of 64 columns.
  static int32_t largest_bits(const float* x) {
    const __m256i sign = _mm256_set1_epi32(0x7FFFFFFF);
    __m256i most = _mm256_setzero_si256();
    for (int i = 0; i < 64; i += 8) {
      most = _mm256_max_epi32(most, _mm256_and_si256(_mm256_castps_si256(load(x + i)), sign));
    }
    __m128i half = _mm_max_epi32(_mm256_castsi256_si128(most), _mm256_extracti128_si256(most, 1));
    half = _mm_max_epi32(half, _mm_shuffle_epi32(half, 0x4E));
    return _mm_cvtsi128_si32(_mm_max_epi32(half, _mm_shuffle_epi32(half, 0xB1)));
  }
};

}  // namespace pocketlora
