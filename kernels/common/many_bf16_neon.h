#pragma once

#include "kernels/common/simd_neon_bf16.h"

namespace pocketlora {

/// bf16 for products of many rows (q4/bf16_gemm.h) with matrix products: two rows of four depths by two columns. Only
/// for files that are compiled with its flags. The members mean what they mean in ManyBf16Amx.
///
/// Source: Arm Architecture Reference Manual for A-profile, BFMMLA (sums in fp32, rounded to odd or, with FEAT_EBF16,
/// as FPCR says; denormals are zero).
struct ManyBf16Neon : Neon {
  static constexpr int kRegisterRows = 6, kRegisterPanels = 1;
  static constexpr int kRowsAtOnce = 2, kDepth = 4;
  static constexpr int64_t kForwardRowTiles = 3;
  using I = uint16x8x4_t;  ///< 32 columns of one row

  struct Unit {
    Unit() {}  // nothing to switch on
  };

  /// A row block has four depths of the even row and of the odd one in turn.
  template <int kBlocks, int kPanels>
  static void multiply(const uint16_t* a, int64_t a_step, const uint16_t* b, int64_t, int64_t chunks, float* c,
                       int64_t ldc, bool accumulate) {
    static_assert(kPanels == 1);
    F squares[kBlocks][8];  // of two rows and two columns
    PL_UNROLL for (int p = 0; p < kBlocks; ++p) {
      PL_UNROLL for (int v = 0; v < 8; v += 2) {
        const float* const from = c + 2 * p * ldc + 2 * v;
        join(accumulate ? load(from) : zero(), accumulate ? load(from + ldc) : zero(), squares[p] + v);
      }
    }
    for (int64_t i = 0; i < chunks; ++i, a += a_step) {
      for (int64_t k = 0; k < 32; k += 4, b += 4 * 16) {
        bfloat16x8_t rows[kBlocks];
        PL_UNROLL for (int p = 0; p < kBlocks; ++p) rows[p] = at(a + 2 * (p * 32 + k));
        PL_UNROLL for (int v = 0; v < 8; ++v) {
          const bfloat16x8_t columns = at(b + 8 * v);
          PL_UNROLL for (int p = 0; p < kBlocks; ++p) { squares[p][v] = vbfmmlaq_f32(squares[p][v], rows[p], columns); }
          // GCC would load all columns first and spill sums for them.
          asm volatile("" : "+r"(b), "+w"(squares[kBlocks - 1][v]));
        }
      }
    }
    PL_UNROLL for (int p = 0; p < kBlocks; ++p) {
      PL_UNROLL for (int v = 0; v < 8; v += 2) {
        F both[2];
        join(squares[p][v], squares[p][v + 1], both);
        Neon::store(c + 2 * p * ldc + 2 * v, both[0]);
        Neon::store(c + (2 * p + 1) * ldc + 2 * v, both[1]);
      }
    }
  }

  static I round(const float* x) {
    I all;
    PL_UNROLL for (int i = 0; i < 4; ++i) all.val[i] = rounded(load(x + 8 * i), load(x + 8 * i + 4));
    return all;
  }
  using Neon::store;
  static void store(uint16_t* p, const I& v) { PL_UNROLL for (int i = 0; i < 4; ++i) vst1q_u16(p + 8 * i, v.val[i]); }
  static void store_rows(const I rows[2], uint16_t* out) {
    PL_UNROLL for (int i = 0; i < 4; ++i) {
      const uint64x2_t even = vreinterpretq_u64_u16(rows[0].val[i]), odd = vreinterpretq_u64_u16(rows[1].val[i]);
      vst1q_u16(out + 16 * i, vreinterpretq_u16_u64(vzip1q_u64(even, odd)));
      vst1q_u16(out + 16 * i + 8, vreinterpretq_u16_u64(vzip2q_u64(even, odd)));
    }
  }
  static void prefetch_far(const void* p) { __builtin_prefetch(p, 0, 2); }

  struct Codebook {
    F values[4];
  };
  static Codebook codebook(const float* values) {
    return {{load(values), load(values + 4), load(values + 8), load(values + 12)}};
  }
  /// The lower and the upper bytes of 16 values.
  struct Table {
    uint8x16_t lower, upper;
  };
  static Table scaled_table(const Codebook& codebook, float scale) {
    F values[4];
    PL_UNROLL for (int v = 0; v < 4; ++v) values[v] = vmulq_n_f32(codebook.values[v], scale);
    const uint8x16_t first = vreinterpretq_u8_u16(rounded(values[0], values[1]));
    const uint8x16_t second = vreinterpretq_u8_u16(rounded(values[2], values[3]));
    return {vuzp1q_u8(first, second), vuzp2q_u8(first, second)};
  }
  static void decode(const uint8_t* codes, const Table& even, const Table& odd, I rows[2]) {
    PL_UNROLL for (int i = 0; i < 2; ++i) {
      const uint8x16_t both = vld1q_u8(codes + 16 * i);
      look_up(even, vandq_u8(both, vdupq_n_u8(15)), rows[0].val + 2 * i);
      look_up(odd, vshrq_n_u8(both, 4), rows[1].val + 2 * i);
    }
  }
  static void decode_columns(const uint8_t* codes, const Table& even, const Table& odd, I rows[2]) {
    decode(codes, even, odd, rows);
  }
  static void store_panels(const I rows[4], uint16_t* out, int64_t panel) {
    PL_UNROLL for (int i = 0; i < 4; ++i) {
      const uint16x8x2_t a = vzipq_u16(rows[0].val[i], rows[1].val[i]);
      const uint16x8x2_t b = vzipq_u16(rows[2].val[i], rows[3].val[i]);
      uint16_t* const to = out + i / 2 * panel + i % 2 * 32;
      PL_UNROLL for (int half = 0; half < 2; ++half) {
        const uint32x4_t first = vreinterpretq_u32_u16(a.val[half]), second = vreinterpretq_u32_u16(b.val[half]);
        vst1q_u16(to + 16 * half, vreinterpretq_u16_u32(vzip1q_u32(first, second)));
        vst1q_u16(to + 16 * half + 8, vreinterpretq_u16_u32(vzip2q_u32(first, second)));
      }
    }
  }

 private:
  static bfloat16x8_t at(const uint16_t* p) { return vreinterpretq_bf16_u16(vld1q_u16(p)); }
  /// Four columns of two rows as two squares, or two squares as four columns of two rows.
  static void join(F first, F second, F* out) {
    const float64x2_t a = vreinterpretq_f64_f32(first), b = vreinterpretq_f64_f32(second);
    out[0] = vreinterpretq_f32_f64(vzip1q_f64(a, b));
    out[1] = vreinterpretq_f32_f64(vzip2q_f64(a, b));
  }
  static uint16x8_t rounded(F first, F second) {
    return vreinterpretq_u16_bf16(vcvtq_high_bf16_f32(vcvtq_low_bf16_f32(first), second));
  }
  static void look_up(const Table& table, uint8x16_t index, uint16x8_t out[2]) {
    const uint8x16_t lower = vqtbl1q_u8(table.lower, index), upper = vqtbl1q_u8(table.upper, index);
    out[0] = vreinterpretq_u16_u8(vzip1q_u8(lower, upper));
    out[1] = vreinterpretq_u16_u8(vzip2q_u8(lower, upper));
  }
};

}  // namespace pocketlora
