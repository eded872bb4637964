#pragma once

#include "kernels/common/integers_neon.h"
#include "kernels/common/simd_math.h"
#include "kernels/common/simd_neon_dot.h"

namespace pocketlora {

/// 8-bit integers for products of many rows (q4/bytes_gemm.h) with dot products of four bytes. Only for files that are
/// compiled with its flags. The members mean what they mean in ManyBytesAvx512Vnni.
///
/// Both sides of a multiplication are signed: nothing is added to the integers of W, nobody asks for sums of x.
struct ManyBytesNeonDot : IntegersNeon {
  static constexpr int kRegisterRows = 6, kRegisterPanels = 1;
  static constexpr int kDepth = 4, kRowsAtOnce = 1;
  static constexpr bool kSumsStay = false;  ///< 24 of 32 registers have those of a chunk
  static constexpr int kOffset = 0;
  using I = uint8x16x4_t;  ///< 64 columns of one row
  using Sums = int32x4_t;  ///< of 4 columns

  /// The sums of a chunk of kRows rows and 16 columns.
  ///
  /// A row comes as one load of 16 depths, of which a multiplication names its four: 22 loads for the 96
  /// multiplications of 16 depths of 6 rows, where repeating four depths in a register of their own would take 40.
  template <int64_t kChunk, int kRows>
  static void multiply_chunk(const uint8_t* a, const uint8_t* b, Sums sums[kRows][4]) {
    PL_UNROLL for (int r = 0; r < kRows; ++r) { PL_UNROLL for (int v = 0; v < 4; ++v) sums[r][v] = vdupq_n_s32(0); }
    for (int64_t k = 0; k < kChunk; k += 16, b += 16 * 16) {
      int8x16_t rows[kRows];
      PL_UNROLL for (int r = 0; r < kRows; ++r) rows[r] = signed_bytes(a + r * kChunk + k);
      multiply_lane<0>(rows, b, sums);
      multiply_lane<1>(rows, b + 64, sums);
      multiply_lane<2>(rows, b + 128, sums);
      multiply_lane<3>(rows, b + 192, sums);
    }
  }
  static F to_floats(Sums sums) { return vcvtq_f32_s32(sums); }

  /// @return nothing of use: sums begin with 0.
  static int32_t round64(const float* x, float by, int8_t* out) {
    for (int i = 0; i < 64; i += 16) {
      F values[4];
      for (int v = 0; v < 4; ++v) values[v] = vmulq_n_f32(load(x + i + 4 * v), by);
      vst1q_s8(out + i, rounded(values));
    }
    return 0;
  }

  static void prefetch_far(const void* p) { __builtin_prefetch(p, 0, 2); }

  static void scale_rows(const float* scales, float unit, float* out) {
    for (int i = 0; i < 16; i += 4) store(out + i, vmulq_n_f32(load(scales + i), unit));
  }

  struct Codebook {
    F values[4];
  };
  static Codebook codebook(const float* values) {
    return {{load(values), load(values + 4), load(values + 8), load(values + 12)}};
  }
  /// For the lower and for the upper 32 columns of a line.
  struct Table {
    uint8x16_t lower, upper;
  };
  static Table table(const uint8_t* bytes) { return {vld1q_u8(bytes), vld1q_u8(bytes)}; }
  static Table scaled_table(const Codebook& codebook, float factor) {
    F values[4];
    for (int v = 0; v < 4; ++v) values[v] = vmulq_n_f32(codebook.values[v], factor);
    const uint8x16_t bytes = vreinterpretq_u8_s8(rounded(values));
    return {bytes, bytes};
  }
  static Table halves(Table lower, Table upper) { return {lower.lower, upper.upper}; }
  static void decode_line(const uint8_t* codes, Table even, Table odd, I rows[2]) {
    PL_UNROLL for (int i = 0; i < 4; ++i) {
      const uint8x16_t both = vld1q_u8(codes + 16 * i);
      rows[0].val[i] = vqtbl1q_u8(i < 2 ? even.lower : even.upper, vandq_u8(both, vdupq_n_u8(15)));
      rows[1].val[i] = vqtbl1q_u8(i < 2 ? odd.lower : odd.upper, vshrq_n_u8(both, 4));
    }
  }
  static void store_bytes(uint8_t* p, const I& v) {
    PL_UNROLL for (int i = 0; i < 4; ++i) vst1q_u8(p + 16 * i, v.val[i]);
  }
  static void store_panels(const I rows[4], uint8_t* out, int64_t panel) {
    PL_UNROLL for (int i = 0; i < 4; ++i) {
      I columns;
      zip_rows(rows, i, columns);
      store_bytes(out + i * panel, columns);
    }
  }

 protected:
  static int8x16_t signed_bytes(const uint8_t* p) { return vreinterpretq_s8_u8(vld1q_u8(p)); }
  /// What comes from p is loaded after the sum is there: GCC would load all columns first and spill sums for them.
  static void load_after(const uint8_t*& p, Sums& sum) { asm volatile("" : "+r"(p), "+w"(sum)); }
  /// 16 columns of four rows, the rows of a column side by side. @param i which 16 of the rows' columns.
  static void zip_rows(const I rows[4], int i, I& columns) {
    const uint8x16x2_t a = vzipq_u8(rows[0].val[i], rows[1].val[i]), b = vzipq_u8(rows[2].val[i], rows[3].val[i]);
    PL_UNROLL for (int half = 0; half < 2; ++half) {
      const uint16x8_t first = vreinterpretq_u16_u8(a.val[half]), second = vreinterpretq_u16_u8(b.val[half]);
      columns.val[2 * half] = vreinterpretq_u8_u16(vzip1q_u16(first, second));
      columns.val[2 * half + 1] = vreinterpretq_u8_u16(vzip2q_u16(first, second));
    }
  }

 private:
  template <int kLane, int kRows>
  static void multiply_lane(const int8x16_t (&rows)[kRows], const uint8_t* b, Sums sums[kRows][4]) {
    PL_UNROLL for (int v = 0; v < 4; ++v) {
      const int8x16_t columns = signed_bytes(b + 16 * v);
      PL_UNROLL for (int r = 0; r < kRows; ++r) sums[r][v] = vdotq_laneq_s32(sums[r][v], columns, rows[r], kLane);
      load_after(b, sums[kRows - 1][v]);
    }
  }
  /// 16 values to the nearest integer, to even between two; beyond 8 bits they saturate.
  static int8x16_t rounded(const F values[4]) {
    int16x4_t narrow[4];
    for (int v = 0; v < 4; ++v) narrow[v] = vqmovn_s32(vcvtnq_s32_f32(values[v]));
    return vcombine_s8(vqmovn_s16(vcombine_s16(narrow[0], narrow[1])), vqmovn_s16(vcombine_s16(narrow[2], narrow[3])));
  }
};

}  // namespace pocketlora
