#pragma once

#include "kernels/common/bytes_neon.h"
#include "kernels/common/simd_neon_dot.h"

namespace pocketlora {

/// 8-bit integers with dot products of four bytes. Only for files that are compiled with its flags. The members mean
/// what they mean in BytesNeon.
///
/// Sums are 32 bits from the start, so x has as many levels as the codebook. Two row pairs are decoded at once: the
/// sums of their four rows become one vector, which is converted and scaled once.
struct BytesNeonDot : BytesNeon {
  static constexpr float kValueLimit = 127.0f;
  static constexpr int kPairs = 2, kPairSums = 1;
  using PairScale = F;

  static PairScale pair_scale(const float* scales) { return load(scales); }
  static void pair_sum(const F sums[kPairSums], float out[4]) { store(out, sums[0]); }

  /// The four rows, one after the other.
  template <int kColumns>
  static void decode(const uint8_t* codes, CodeTable table, I w[kColumns / 4]) {
    for (int pair = 0; pair < kPairs; ++pair) {
      BytesNeon::decode<kColumns>(codes + 64 * pair, table, w + kColumns / 8 * pair);
    }
  }

  template <int kColumns>
  static void multiply(const I w[kColumns / 4], const uint8_t* bytes, PairScale scale, float x_scale,
                       F sums[kPairSums]) {
    const auto* x = reinterpret_cast<const int8_t*>(bytes);
    constexpr int kVectors = kColumns / 16;
    int32x4_t rows[4] = {vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0)};
    for (int i = 0; i < kVectors; ++i) {
      const I values = vld1q_s8(x + 16 * i);
      for (int row = 0; row < 4; ++row) rows[row] = vdotq_s32(rows[row], w[row * kVectors + i], values);
    }
    const int32x4_t products = vpaddq_s32(vpaddq_s32(rows[0], rows[1]), vpaddq_s32(rows[2], rows[3]));
    sums[0] = fma(vcvtq_f32_s32(products), vmulq_n_f32(scale, x_scale), sums[0]);
  }
};

}  // namespace pocketlora
