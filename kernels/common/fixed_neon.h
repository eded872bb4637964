#pragma once

#include "kernels/common/integers_neon.h"

namespace pocketlora {

/// 16-bit integers of baseline aarch64 for products of rows and 4-bit codes. The members mean what they mean in
/// FixedAvx2.
struct FixedNeon : IntegersNeon {
  using I = int16x8_t;  ///< 8 values of one row
  static constexpr float kValueLimit = 16383.0f, kCodeLimit = 8191.0f;
  static constexpr int64_t kScaleColumns = 1024;
  static constexpr int64_t kUnitBytes = 64;  ///< 32 columns of x, in their order
  /// A widening multiplication takes as many products as one of floats: many rows stay with those.
  static constexpr bool kManyRows = false;
  /// Vectors of 32 columns of a row pair: the even row's, then the odd row's.
  static constexpr int kPairVectors = 8;

  struct CodeTable {
    uint8x16_t low, high;
  };
  static CodeTable code_table(const int16_t* values) {
    const uint8x16x2_t planes = vld2q_u8(reinterpret_cast<const uint8_t*>(values));
    return {planes.val[0], planes.val[1]};
  }

  template <int kColumns>
  static void decode(const uint8_t* codes, const CodeTable& table, I w[kColumns / 4]) {
    for (int i = 0; i < kColumns / 16; ++i) {
      const uint8x16_t both = vld1q_u8(codes + 16 * i);
      look_up(table, vandq_u8(both, vdupq_n_u8(15)), w + 2 * i);
      look_up(table, vshrq_n_u8(both, 4), w + kColumns / 8 + 2 * i);
    }
  }

  template <int kColumns>
  static void multiply(const I w[kColumns / 4], const uint8_t* bytes, PairScale scale, float, F sums[kPairSums]) {
    const auto* x = reinterpret_cast<const int16_t*>(bytes);
    constexpr int kVectors = kColumns / 8;
    I values[kVectors];
    for (int i = 0; i < kVectors; ++i) values[i] = vld1q_s16(x + 8 * i);
    for (int row = 0; row < kPairSums; ++row) {
      const int32x4_t products = dot<kVectors>(w + row * kVectors, values);
      sums[row] = vfmaq_n_f32(sums[row], vcvtq_f32_s32(products), scale[row]);
    }
  }

  /// The columns keep their order.
  static void quantize(const float* x, float inverse, uint8_t* bytes) {
    auto* out = reinterpret_cast<int16_t*>(bytes);
    const F by = set1(inverse);
    for (int i = 0; i < 64; i += 8) {
      const int32x4_t low = vcvtnq_s32_f32(mul(load(x + i), by)), high = vcvtnq_s32_f32(mul(load(x + i + 4), by));
      vst1q_s16(out + i, vcombine_s16(vqmovn_s32(low), vqmovn_s32(high)));
    }
  }

 private:
  template <int kVectors>
  static int32x4_t dot(const I* a, const I* b) {
    if constexpr (kVectors == 1) {
      return vmlal_high_s16(vmull_s16(vget_low_s16(*a), vget_low_s16(*b)), *a, *b);
    } else {
      constexpr int kHalf = kVectors / 2;
      return vaddq_s32(dot<kHalf>(a, b), dot<kVectors - kHalf>(a + kHalf, b + kHalf));
    }
  }
  static void look_up(const CodeTable& table, uint8x16_t index, I out[2]) {
    const uint8x16_t low = vqtbl1q_u8(table.low, index), high = vqtbl1q_u8(table.high, index);
    out[0] = vreinterpretq_s16_u8(vzip1q_u8(low, high));
    out[1] = vreinterpretq_s16_u8(vzip2q_u8(low, high));
  }
};

}  // namespace pocketlora
