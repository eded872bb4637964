#pragma once

#include "kernels/common/integers_neon.h"

namespace pocketlora {

/// 8-bit integers of baseline aarch64 for products of rows and 4-bit codes. The members mean what they mean in
/// BytesAvx2; bytes are signed on both sides here, nothing is added to them: the sums are the same.
struct BytesNeon : IntegersNeon {
  using I = int8x16_t;  ///< 16 values of one row
  static constexpr float kValueLimit = 63.0f, kCodeLimit = 127.0f;
  static constexpr int64_t kScaleColumns = 64;
  static constexpr int64_t kUnitBytes = 32;  ///< 32 columns of x, in their order
  /// Vectors of 32 columns of a row pair: the even row's, then the odd row's.
  static constexpr int kPairVectors = 4;

  using CodeTable = uint8x16_t;
  static CodeTable code_table(const int16_t* values) {
    return vreinterpretq_u8_s8(vcombine_s8(vmovn_s16(vld1q_s16(values)), vmovn_s16(vld1q_s16(values + 8))));
  }

  template <int kColumns>
  static void decode(const uint8_t* codes, CodeTable table, I w[kColumns / 8]) {
    for (int i = 0; i < kColumns / 16; ++i) {
      const uint8x16_t both = vld1q_u8(codes + 16 * i);
      w[i] = vreinterpretq_s8_u8(vqtbl1q_u8(table, vandq_u8(both, vdupq_n_u8(15))));
      w[kColumns / 16 + i] = vreinterpretq_s8_u8(vqtbl1q_u8(table, vshrq_n_u8(both, 4)));
    }
  }

  template <int kColumns>
  static void multiply(const I w[kColumns / 8], const uint8_t* bytes, PairScale scale, float x_scale,
                       F sums[kPairSums]) {
    const auto* x = reinterpret_cast<const int8_t*>(bytes);
    constexpr int kVectors = kColumns / 16;
    I values[kVectors];
    for (int i = 0; i < kVectors; ++i) values[i] = vld1q_s8(x + 16 * i);
    for (int row = 0; row < kPairSums; ++row) {
      const I* of_row = w + row * kVectors;
      int32x4_t products = vpaddlq_s16(unit(of_row, values));
      if constexpr (kColumns == 64) products = vpadalq_s16(products, unit(of_row + 2, values + 2));
      sums[row] = vfmaq_n_f32(sums[row], vcvtq_f32_s32(products), scale[row] * x_scale);
    }
  }

  static void quantize(const float* x, float inverse, uint8_t* out) {
    const F by = set1(inverse);
    for (int i = 0; i < 64; i += 8) {
      const int32x4_t low = vcvtnq_s32_f32(mul(load(x + i), by)), high = vcvtnq_s32_f32(mul(load(x + i + 4), by));
      vst1_s8(reinterpret_cast<int8_t*>(out + i), vqmovn_s16(vcombine_s16(vqmovn_s32(low), vqmovn_s32(high))));
    }
  }

 private:
  /// 32 columns of a row: 8 sums of four products.
  static int16x8_t unit(const I* w, const I* x) {
    int16x8_t sums = vmull_s8(vget_low_s8(w[0]), vget_low_s8(x[0]));
    sums = vmlal_high_s8(sums, w[0], x[0]);
    sums = vmlal_s8(sums, vget_low_s8(w[1]), vget_low_s8(x[1]));
    return vmlal_high_s8(sums, w[1], x[1]);
  }
};

}  // namespace pocketlora
