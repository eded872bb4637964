#pragma once

#include "kernels/common/simd_neon.h"

namespace pocketlora {

/// What the 16-bit and the 8-bit integers of aarch64 share (common/fixed_neon.h, common/bytes_neon.h). The members mean
/// what they mean in IntegersAvx2.
struct IntegersNeon : Neon {
  static constexpr int kPairs = 1, kRowsAtOnce = 1;
  static constexpr int kPairSums = 2;
  using PairScale = const float*;

  static PairScale pair_scale(const float* scales) { return scales; }

  static void pair_sum(const F sums[kPairSums], float out[2]) {
    for (int row = 0; row < kPairSums; ++row) out[row] = sum(sums[row]);
  }

  static int32_t largest_bits(const float* x) {
    uint32x4_t most = vdupq_n_u32(0);
    for (int i = 0; i < 64; i += 4) {
      most = vmaxq_u32(most, vandq_u32(vreinterpretq_u32_f32(load(x + i)), vdupq_n_u32(0x7FFFFFFF)));
    }
    return static_cast<int32_t>(vmaxvq_u32(most));
  }
};

}  // namespace pocketlora
