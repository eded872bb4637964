#pragma once

#include "kernels/common/many_bytes_neon_dot.h"
#include "kernels/common/simd_neon_i8mm.h"

namespace pocketlora {

/// 8-bit integers for products of many rows (q4/bytes_gemm.h) with matrix products: two rows of 8 depths by two
/// columns. Only for files that are compiled with its flags. The members mean what they mean in ManyBytesAvx512Vnni.
struct ManyBytesNeonI8mm : ManyBytesNeonDot {
  static constexpr int kDepth = 8, kRowsAtOnce = 2;

  /// The sums of an odd last row's neighbour are left out.
  template <int64_t kChunk, int kRows>
  static void multiply_chunk(const uint8_t* a, const uint8_t* b, Sums sums[kRows][4]) {
    constexpr int kPairs = (kRows + 1) / 2;
    Sums squares[kPairs][8];  // of two rows and two columns
    PL_UNROLL for (int p = 0; p < kPairs; ++p) { PL_UNROLL for (int v = 0; v < 8; ++v) squares[p][v] = vdupq_n_s32(0); }
    for (int64_t k = 0; k < kChunk; k += 8, b += 8 * 16) {
      int8x16_t rows[kPairs];
      PL_UNROLL for (int p = 0; p < kPairs; ++p) rows[p] = signed_bytes(a + 2 * (p * kChunk + k));
      PL_UNROLL for (int v = 0; v < 8; ++v) {
        const int8x16_t columns = signed_bytes(b + 16 * v);
        PL_UNROLL for (int p = 0; p < kPairs; ++p) squares[p][v] = vmmlaq_s32(squares[p][v], rows[p], columns);
        load_after(b, squares[kPairs - 1][v]);
      }
    }
    PL_UNROLL for (int r = 0; r < kRows; ++r) {
      PL_UNROLL for (int v = 0; v < 4; ++v) {
        const int64x2_t low = vreinterpretq_s64_s32(squares[r / 2][2 * v]);
        const int64x2_t high = vreinterpretq_s64_s32(squares[r / 2][2 * v + 1]);
        sums[r][v] = vreinterpretq_s32_s64(r % 2 == 0 ? vzip1q_s64(low, high) : vzip2q_s64(low, high));
      }
    }
  }

  /// 64 columns of two rows, 8 of each in turn.
  static void join_rows(const int8_t* first, const int8_t* second, uint8_t* out) {
    for (int k = 0; k < 64; k += 8, out += 16) {
      vst1q_u8(out, vreinterpretq_u8_s8(vcombine_s8(vld1_s8(first + k), vld1_s8(second + k))));
    }
  }
  static void join_rows(I rows[2]) {
    I joined[2];
    PL_UNROLL for (int i = 0; i < 4; ++i) {
      const uint64x2_t first = vreinterpretq_u64_u8(rows[0].val[i]), second = vreinterpretq_u64_u8(rows[1].val[i]);
      joined[i / 2].val[i % 2 * 2] = vreinterpretq_u8_u64(vzip1q_u64(first, second));
      joined[i / 2].val[i % 2 * 2 + 1] = vreinterpretq_u8_u64(vzip2q_u64(first, second));
    }
    rows[0] = joined[0];
    rows[1] = joined[1];
  }

  static void store_panels(const I rows[8], uint8_t* out, int64_t panel) {
    PL_UNROLL for (int i = 0; i < 4; ++i) {
      I upper, lower;
      zip_rows(rows, i, upper);
      zip_rows(rows + 4, i, lower);
      PL_UNROLL for (int v = 0; v < 4; ++v) {
        const uint32x4_t first = vreinterpretq_u32_u8(upper.val[v]), second = vreinterpretq_u32_u8(lower.val[v]);
        uint8_t* to = out + i * panel + 32 * v;
        vst1q_u8(to, vreinterpretq_u8_u32(vzip1q_u32(first, second)));
        vst1q_u8(to + 16, vreinterpretq_u8_u32(vzip2q_u32(first, second)));
      }
    }
  }
};

}  // namespace pocketlora
