#pragma once

#include <arm_neon.h>

#include <cstdint>
#include <cstring>

#include "kernels/common/simd_neon.h"

namespace pocketlora::vec {

/** Neon with what vec_math.h and the floating-point ops need besides. The members mean what they mean in vec::Avx2. */
struct Neon : pocketlora::Neon {
  using Double = float64x2_t;
  static constexpr int kAccumulators = 16;

  static F load_first(const float* p, int64_t n) {
    float lanes[kLanes] = {0, 0, 0, 0};
    for (int64_t i = 0; i < n; ++i) lanes[i] = p[i];
    return vld1q_f32(lanes);
  }
  static void store_first(float* p, F v, int64_t n) {
    float lanes[kLanes];
    vst1q_f32(lanes, v);
    for (int64_t i = 0; i < n; ++i) p[i] = lanes[i];
  }

  static F load_half(const uint8_t* p) { return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(p))); }
  static F load_int8(const uint8_t* p) {
    uint32_t bytes;
    std::memcpy(&bytes, p, sizeof(bytes));
    return vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(vreinterpret_s8_u64(vcreate_u64(bytes))))));
  }
  static void store_half(uint8_t* p, F v) { vst1_u8(p, vreinterpret_u8_f16(vcvt_f16_f32(v))); }

  static F sqrt(F a) { return vsqrtq_f32(a); }

  /** Each by the tree (0+1)+(2+3). */
  static void sum4(F a, F b, F c, F d, float* sums) { vst1q_f32(sums, vpaddq_f32(vpaddq_f32(a, b), vpaddq_f32(c, d))); }

  static Double zero_double() { return vdupq_n_f64(0); }
  static Double add_squares(F v, Double sum) {
    const Double low = vcvt_f64_f32(vget_low_f32(v));
    const Double high = vcvt_high_f64_f32(v);
    return vfmaq_f64(vfmaq_f64(sum, low, low), high, high);
  }
  static double sum_double(Double a) { return vaddvq_f64(a); }
};

}  // namespace pocketlora::vec
