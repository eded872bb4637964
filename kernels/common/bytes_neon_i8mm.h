#pragma once

#include "kernels/common/bytes_neon_dot.h"
#include "kernels/common/simd_neon_i8mm.h"

namespace pocketlora {

/// 8-bit integers with matrix products of 2 x 8 bytes, for two rows of x at once (q4/paired_rows.h); a single one stays
/// with OneRow, whose sums have the same bits. Only for files that are compiled with its flags. The members mean what
/// they mean in BytesNeonDot.
struct BytesNeonI8mm : BytesNeonDot {
  static constexpr int kRowsAtOnce = 2;
  /// A type of its own: its functions share no names with what other flags compiled.
  struct OneRow : BytesNeonDot {};

  /// The scales of the two pairs' even rows and of their odd rows, each for two rows of x.
  struct PairScale {
    F even, odd;
  };
  static PairScale pair_scale(const float* scales) {
    const F rows = load(scales);
    return {vtrn1q_f32(rows, rows), vtrn2q_f32(rows, rows)};
  }

  /// Vectors of 8 columns of two rows: the pairs' even rows, then their odd rows.
  template <int kColumns>
  static void decode(const uint8_t* codes, CodeTable table, I w[kColumns / 4]) {
    for (int i = 0; i < kColumns / 16; ++i) {
      uint8x16_t both[2];
      zip(vld1q_u8(codes + 16 * i), vld1q_u8(codes + 64 + 16 * i), both);
      for (int half = 0; half < 2; ++half) {
        I* to = w + 2 * i + half;
        to[0] = vreinterpretq_s8_u8(vqtbl1q_u8(table, vandq_u8(both[half], vdupq_n_u8(15))));
        to[kColumns / 8] = vreinterpretq_s8_u8(vqtbl1q_u8(table, vshrq_n_u8(both[half], 4)));
      }
    }
  }

  /// Two rows of x as vectors of 8 columns of both. @param bytes of one of them.
  static void join_rows(const uint8_t* first, const uint8_t* second, int64_t bytes, uint8_t* out) {
    for (int64_t i = 0; i < bytes; i += 16) {
      uint8x16_t both[2];
      zip(vld1q_u8(first + i), vld1q_u8(second + i), both);
      vst1q_u8(out + 2 * i, both[0]);
      vst1q_u8(out + 2 * i + 16, both[1]);
    }
  }

  /// @param x_scales of the first and the second row, twice over.
  /// @param sums of the even rows of W with the first and the second row of x, then of the odd rows.
  template <int kColumns>
  static void multiply_rows(const I w[kColumns / 4], const uint8_t* bytes, PairScale scale, const float x_scales[4],
                            F sums[2]) {
    const auto* x = reinterpret_cast<const int8_t*>(bytes);
    int32x4_t even = vdupq_n_s32(0), odd = vdupq_n_s32(0);
    for (int i = 0; i < kColumns / 8; ++i) {
      const I values = vld1q_s8(x + 16 * i);
      even = vmmlaq_s32(even, w[i], values);
      odd = vmmlaq_s32(odd, w[kColumns / 8 + i], values);
    }
    const F x_scale = load(x_scales);
    sums[0] = fma(vcvtq_f32_s32(even), mul(scale.even, x_scale), sums[0]);
    sums[1] = fma(vcvtq_f32_s32(odd), mul(scale.odd, x_scale), sums[1]);
  }

  /// The sums of the four rows of W, of the first row of x and of the second.
  static void row_sums(const F sums[2], float first[4], float second[4]) {
    store(first, vtrn1q_f32(sums[0], sums[1]));
    store(second, vtrn2q_f32(sums[0], sums[1]));
  }

 private:
  static void zip(uint8x16_t a, uint8x16_t b, uint8x16_t out[2]) {
    const uint64x2_t first = vreinterpretq_u64_u8(a), second = vreinterpretq_u64_u8(b);
    out[0] = vreinterpretq_u8_u64(vzip1q_u64(first, second));
    out[1] = vreinterpretq_u8_u64(vzip2q_u64(first, second));
  }
};

}  // namespace pocketlora
