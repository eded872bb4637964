#pragma once

#include "kernels/common/simd_neon.h"

namespace pocketlora {

/// 16-bit integers of baseline aarch64 for products of rows and 4-bit codes. The members mean what they mean in
/// FixedAvx2.
struct FixedNeon : Neon {
  using I = int16x8_t;
  using S = int32x4_t;
  static constexpr int kVectors = 4;
  /// A lane sums 16 products: 16 * 8191 * 16383 < 2^31.
  static constexpr float kCodeLimit = 8191.0f;

  struct CodeTable {
    uint8x16_t low, high;
  };
  static CodeTable code_table(const int16_t* values) {
    const uint8x16x2_t planes = vld2q_u8(reinterpret_cast<const uint8_t*>(values));
    return {planes.val[0], planes.val[1]};
  }

  static void decode(const uint8_t* codes, const CodeTable& table, I a[4], I b[4]) {
    for (int i = 0; i < 2; ++i) {
      const uint8x16_t both = vld1q_u8(codes + 16 * i);
      look_up(table, vandq_u8(both, vdupq_n_u8(15)), a + 2 * i);
      look_up(table, vshrq_n_u8(both, 4), b + 2 * i);
    }
  }

  using Neon::load;
  template <int kCount>
  static void load(const int16_t* p, I out[kCount]) {
    for (int i = 0; i < kCount; ++i) out[i] = vld1q_s16(p + 8 * i);
  }
  static S dot(I a, I b) { return vmlal_high_s16(vmull_s16(vget_low_s16(a), vget_low_s16(b)), a, b); }
  static S add(S a, S b) { return vaddq_s32(a, b); }
  static F add_scaled(S sums, const float* scale, F acc) { return vfmaq_n_f32(acc, vcvtq_f32_s32(sums), *scale); }

  /// The columns keep their order.
  static float quantize(const float* x, float limit, int16_t* out) {
    uint32x4_t most = vdupq_n_u32(0);
    for (int i = 0; i < 64; i += 4) {
      most = vmaxq_u32(most, vandq_u32(vreinterpretq_u32_f32(Neon::load(x + i)), vdupq_n_u32(0x7FFFFFFF)));
    }
    const float largest = vgetq_lane_f32(vreinterpretq_f32_u32(vdupq_n_u32(vmaxvq_u32(most))), 0);
    const F inverse = set1(largest < kSmallest ? 0.0f : limit / largest);
    for (int i = 0; i < 64; i += 8) {
      const int32x4_t low = vcvtnq_s32_f32(mul(Neon::load(x + i), inverse));
      const int32x4_t high = vcvtnq_s32_f32(mul(Neon::load(x + i + 4), inverse));
      vst1q_s16(out + i, vcombine_s16(vqmovn_s32(low), vqmovn_s32(high)));
    }
    return largest < kSmallest ? 0.0f : largest / limit;
  }

 private:
  static constexpr float kSmallest = 1e-30f;

  static void look_up(const CodeTable& table, uint8x16_t index, I out[2]) {
    const uint8x16_t low = vqtbl1q_u8(table.low, index), high = vqtbl1q_u8(table.high, index);
    out[0] = vreinterpretq_s16_u8(vzip1q_u8(low, high));
    out[1] = vreinterpretq_s16_u8(vzip2q_u8(low, high));
  }
};

}  // namespace pocketlora
