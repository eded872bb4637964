#pragma once

#include <arm_neon.h>

#include <cstdint>

namespace pocketlora::vec {

/** Four fp32 lanes of Armv8-A; the vocabulary of the templates in vec_math.h and the ops. */
struct Neon {
  static constexpr int64_t kLanes = 4;
  using Float = float32x4_t;
  using Double = float64x2_t;  ///< half as many lanes

  static Float zero() { return vdupq_n_f32(0); }
  static Float set(float v) { return vdupq_n_f32(v); }
  static Float load(const float* p) { return vld1q_f32(p); }
  static void store(float* p, Float v) { vst1q_f32(p, v); }

  /** The first n < kLanes lanes; the others are 0 and their memory is not touched. */
  static Float load_first(const float* p, int64_t n) {
    float lanes[kLanes] = {0, 0, 0, 0};
    for (int64_t i = 0; i < n; ++i) lanes[i] = p[i];
    return vld1q_f32(lanes);
  }
  static void store_first(float* p, Float v, int64_t n) {
    float lanes[kLanes];
    vst1q_f32(lanes, v);
    for (int64_t i = 0; i < n; ++i) p[i] = lanes[i];
  }

  static Float add(Float a, Float b) { return vaddq_f32(a, b); }
  static Float sub(Float a, Float b) { return vsubq_f32(a, b); }
  static Float mul(Float a, Float b) { return vmulq_f32(a, b); }
  static Float div(Float a, Float b) { return vdivq_f32(a, b); }
  static Float sqrt(Float a) { return vsqrtq_f32(a); }
  static Float fma(Float a, Float b, Float c) { return vfmaq_f32(c, a, b); }   ///< a·b + c
  static Float fnma(Float a, Float b, Float c) { return vfmsq_f32(c, a, b); }  ///< c − a·b

  /** min(max(x, low), high); a NaN stays a NaN. */
  static Float clamp(Float x, float low, float high) { return vminq_f32(vmaxq_f32(x, set(low)), set(high)); }
  static Float max(Float a, Float b) { return vmaxq_f32(a, b); }
  static Float round(Float a) { return vrndnq_f32(a); }

  /** v · 2^n for integral n in [−252, 254], in two factors so that neither overflows nor denormals are lost. */
  static Float scale_by_power(Float v, Float n) {
    const int32x4_t whole = vcvtq_s32_f32(n);
    const int32x4_t half = vshrq_n_s32(whole, 1);
    return mul(mul(v, power(half)), power(vsubq_s32(whole, half)));
  }

  /** Sums of four vectors, each by the tree (0+1)+(2+3): one vector's sum does not depend on the others. */
  static void sum4(Float a, Float b, Float c, Float d, float* sums) {
    vst1q_f32(sums, vpaddq_f32(vpaddq_f32(a, b), vpaddq_f32(c, d)));
  }
  static float sum(Float a) { return vaddvq_f32(a); }
  static float max_lane(Float a) { return vmaxvq_f32(a); }

  static Double zero_double() { return vdupq_n_f64(0); }
  /** sum + Σ of the squares of v's lower and upper half, in double. */
  static Double add_squares(Float v, Double sum) {
    const Double low = vcvt_f64_f32(vget_low_f32(v));
    const Double high = vcvt_high_f64_f32(v);
    return vfmaq_f64(vfmaq_f64(sum, low, low), high, high);
  }
  static double sum_double(Double a) { return vaddvq_f64(a); }

 private:
  static Float power(int32x4_t exponent) {
    return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(exponent, vdupq_n_s32(127)), 23));
  }
};

}  // namespace pocketlora::vec
