#pragma once

#include <arm_neon.h>

#include <cstdint>

#include "kernels/common/simd_math.h"

namespace pocketlora {

struct FixedNeon;
struct BytesNeon;

/// Vectors of baseline aarch64 (Advanced SIMD). The members mean what they mean in Avx2.
struct Neon {
  using Fixed = FixedNeon;
  using Bytes = BytesNeon;
  using ManyBytes = void;  ///< no products of many rows in 8-bit integers
  using ManyBf16 = void;   ///< and none in bf16
  using F = float32x4_t;
  static constexpr int kLanes = 4;
  static constexpr int kTileRows = 6;
  static constexpr int kTilePanels = 1;

  static F zero() { return vdupq_n_f32(0.0f); }
  static F set1(float v) { return vdupq_n_f32(v); }
  static F load(const float* p) { return vld1q_f32(p); }
  static F load_once(const float* p) { return load(p); }
  static void store(float* p, F v) { vst1q_f32(p, v); }
  static F add(F a, F b) { return vaddq_f32(a, b); }
  static F sub(F a, F b) { return vsubq_f32(a, b); }
  static F mul(F a, F b) { return vmulq_f32(a, b); }
  static F div(F a, F b) { return vdivq_f32(a, b); }
  static F fma(F a, F b, F c) { return vfmaq_f32(c, a, b); }
  static F fnma(F a, F b, F c) { return vfmsq_f32(c, a, b); }
  static F max(F a, F b) { return vmaxq_f32(a, b); }
  static F min(F a, F b) { return vminq_f32(a, b); }
  static F round(F v) { return vrndnq_f32(v); }
  static F pow2(F v) { return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(vcvtq_s32_f32(v), vdupq_n_s32(127)), 23)); }
  static float sum(F v) { return vaddvq_f32(v); }
  static float maximum(F v) { return vmaxvq_f32(v); }

  /// The codebook as four byte planes: a table look-up moves bytes.
  struct Codebook {
    uint8x16_t plane[4];
  };
  struct Table {
    Codebook codebook;
    F scale;
  };
  static Codebook codebook(const float* values) {
    const uint8x16x4_t planes = vld4q_u8(reinterpret_cast<const uint8_t*>(values));
    return {{planes.val[0], planes.val[1], planes.val[2], planes.val[3]}};
  }
  static Table scaled(const Codebook& codebook, float scale) { return {codebook, set1(scale)}; }

  static void decode(const uint8_t* codes, const Table& even, const Table& odd, F a[4], F b[4]) {
    const uint8x16_t both = vld1q_u8(codes);
    lookup(even.codebook, vandq_u8(both, vdupq_n_u8(15)), a);
    lookup(odd.codebook, vshrq_n_u8(both, 4), b);
    for (int i = 0; i < 4; ++i) {
      a[i] = mul(a[i], even.scale);
      b[i] = mul(b[i], odd.scale);
    }
  }

  using DotTable = Codebook;
  static constexpr int kDotVectors = 8;
  static constexpr int dot_column(int p) { return p; }
  static DotTable dot_table(const float* values) { return codebook(values); }
  static void decode_dot(const uint8_t* codes, const DotTable& table, F a[8], F b[8]) {
    for (int i = 0; i < 2; ++i) {
      const uint8x16_t both = vld1q_u8(codes + 16 * i);
      lookup(table, vandq_u8(both, vdupq_n_u8(15)), a + 4 * i);
      lookup(table, vshrq_n_u8(both, 4), b + 4 * i);
    }
  }

  static void load_halves(const uint8_t* p, float out[16]) {
    for (int i = 0; i < 4; ++i) store(out + 4 * i, vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(p + 8 * i))));
  }

  static void prefetch(const void* p) { __builtin_prefetch(p); }

  static PL_INLINE void transpose(const float* in, int64_t in_stride, float* out, int64_t out_stride) {
    const float32x4x2_t top = vtrnq_f32(load(in), load(in + in_stride));
    const float32x4x2_t bottom = vtrnq_f32(load(in + 2 * in_stride), load(in + 3 * in_stride));
    store(out, vcombine_f32(vget_low_f32(top.val[0]), vget_low_f32(bottom.val[0])));
    store(out + out_stride, vcombine_f32(vget_low_f32(top.val[1]), vget_low_f32(bottom.val[1])));
    store(out + 2 * out_stride, vcombine_f32(vget_high_f32(top.val[0]), vget_high_f32(bottom.val[0])));
    store(out + 3 * out_stride, vcombine_f32(vget_high_f32(top.val[1]), vget_high_f32(bottom.val[1])));
  }
  static constexpr int kTransposeSize = 4;

 private:
  static void lookup(const Codebook& table, uint8x16_t index, F out[4]) {
    uint8x16_t byte[4];
    for (int i = 0; i < 4; ++i) byte[i] = vqtbl1q_u8(table.plane[i], index);
    const uint16x8_t low0 = vreinterpretq_u16_u8(vzip1q_u8(byte[0], byte[1]));
    const uint16x8_t low1 = vreinterpretq_u16_u8(vzip2q_u8(byte[0], byte[1]));
    const uint16x8_t high0 = vreinterpretq_u16_u8(vzip1q_u8(byte[2], byte[3]));
    const uint16x8_t high1 = vreinterpretq_u16_u8(vzip2q_u8(byte[2], byte[3]));
    out[0] = vreinterpretq_f32_u16(vzip1q_u16(low0, high0));
    out[1] = vreinterpretq_f32_u16(vzip2q_u16(low0, high0));
    out[2] = vreinterpretq_f32_u16(vzip1q_u16(low1, high1));
    out[3] = vreinterpretq_f32_u16(vzip2q_u16(low1, high1));
  }
};

}  // namespace pocketlora
