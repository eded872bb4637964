#pragma once

#include "kernels/common/bytes_neon_dot.h"
#include "kernels/common/simd_neon_i8mm.h"

namespace pocketlora {

/// 8-bit integers with matrix products of 2 x 8 bytes, for two rows of x at once; a single one stays with OneRow, whose
/// sums have the same bits. Only for files that are compiled with its flags. The members mean what they mean in
/// BytesNeonDot.
struct BytesNeonI8mm : BytesNeonDot {
  static constexpr int kRowsAtOnce = 2;
  using OneRow = BytesNeonDot;

  /// The scales of the two pairs' even rows and of their odd rows, each for two rows of x.
  struct PairScale {
    F even, odd;
  };
  static PairScale pair_scale(const float* scales) {
    const F rows = load(scales);
    return {vtrn1q_f32(rows, rows), vtrn2q_f32(rows, rows)};
  }

  using RowScale = F;
  static RowScale row_scale(float first, float second) {
    const float32x2_t both = vset_lane_f32(second, vdup_n_f32(first), 1);
    return vcombine_f32(both, both);
  }

  /// Vectors of 8 columns of two rows: the pairs' even rows, then their odd rows.
  template <int kColumns>
  static void decode(const uint8_t* codes, CodeTable table, I w[kColumns / 4]) {
    for (int i = 0; i < kColumns / 16; ++i) {
      const uint64x2_t first = vreinterpretq_u64_u8(vld1q_u8(codes + 16 * i));
      const uint64x2_t second = vreinterpretq_u64_u8(vld1q_u8(codes + 64 + 16 * i));
      const uint8x16_t both[2] = {vreinterpretq_u8_u64(vzip1q_u64(first, second)),
                                  vreinterpretq_u8_u64(vzip2q_u64(first, second))};
      for (int half = 0; half < 2; ++half) {
        I* to = w + 2 * i + half;
        to[0] = vreinterpretq_s8_u8(vqtbl1q_u8(table, vandq_u8(both[half], vdupq_n_u8(15))));
        to[kColumns / 8] = vreinterpretq_s8_u8(vqtbl1q_u8(table, vshrq_n_u8(both[half], 4)));
      }
    }
  }

  /// Two rows of x become vectors of 8 columns of both, in place.
  static void join_rows(uint8_t* first, uint8_t* second, int64_t bytes) {
    for (int64_t i = 0; i < bytes; i += 16) {
      const uint64x2_t a = vreinterpretq_u64_u8(vld1q_u8(first + i)), b = vreinterpretq_u64_u8(vld1q_u8(second + i));
      vst1q_u8(first + i, vreinterpretq_u8_u64(vzip1q_u64(a, b)));
      vst1q_u8(second + i, vreinterpretq_u8_u64(vzip2q_u64(a, b)));
    }
  }

  /// Adds to the sums of two rows of x; which is which, split_sums() knows.
  template <int kColumns>
  static void multiply_rows(const I w[kColumns / 4], const uint8_t* first, const uint8_t* second, PairScale scale,
                            RowScale x_scale, F even_sums[kPairSums], F odd_sums[kPairSums]) {
    int32x4_t even = vdupq_n_s32(0), odd = vdupq_n_s32(0);
    for (int i = 0; i < kColumns / 8; ++i) {
      const I x = vld1q_s8(reinterpret_cast<const int8_t*>(i % 2 == 0 ? first : second) + i / 2 * 16);
      even = vmmlaq_s32(even, w[i], x);
      odd = vmmlaq_s32(odd, w[kColumns / 8 + i], x);
    }
    even_sums[0] = fma(vcvtq_f32_s32(even), mul(scale.even, x_scale), even_sums[0]);
    odd_sums[0] = fma(vcvtq_f32_s32(odd), mul(scale.odd, x_scale), odd_sums[0]);
  }

  /// From the sums of even and of odd rows of W to those of the first and of the second row of x.
  static void split_sums(F& even, F& odd) {
    const F first = vtrn1q_f32(even, odd);
    odd = vtrn2q_f32(even, odd);
    even = first;
  }
};

}  // namespace pocketlora
