#include <arm_neon.h>

#include "kernels/common/half.h"
#include "kernels/convert/convert.h"

namespace pocketlora {

bool to_half_neon(const float* in, uint16_t* out, int64_t n) {
  const uint16x4_t exponent = vdup_n_u16(0x7C00);
  uint16x4_t infinite = vdup_n_u16(0);
  int64_t i = 0;
  for (; i + 4 <= n; i += 4) {
    const uint16x4_t half = vreinterpret_u16_f16(vcvt_f16_f32(vld1q_f32(in + i)));
    infinite = vorr_u16(infinite, vceq_u16(vand_u16(half, exponent), exponent));
    vst1_u16(out + i, half);
  }
  bool finite = vmaxv_u16(infinite) == 0;
  for (; i < n; ++i) {
    out[i] = float_to_half(in[i]);
    finite = finite && (out[i] & 0x7C00u) != 0x7C00u;
  }
  return finite;
}

void from_half_neon(const uint16_t* in, float* out, int64_t n) {
  int64_t i = 0;
  for (; i + 4 <= n; i += 4) vst1q_f32(out + i, vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(in + i))));
  for (; i < n; ++i) out[i] = half_to_float(in[i]);
}

bool to_bfloat16_neon(const float* in, uint16_t* out, int64_t n) {
  const uint16x4_t exponent = vdup_n_u16(0x7F80);
  uint16x4_t infinite = vdup_n_u16(0);
  int64_t i = 0;
  for (; i + 4 <= n; i += 4) {
    const float32x4_t value = vld1q_f32(in + i);
    const uint32x4_t bits = vreinterpretq_u32_f32(value);
    const uint32x4_t odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
    const uint16x4_t nearest = vshrn_n_u32(vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7FFF))), 16);
    // Rounding up could turn a NaN into an infinity.
    const uint16x4_t number = vmovn_u32(vceqq_f32(value, value));
    const uint16x4_t rounded = vbsl_u16(number, nearest, vdup_n_u16(0x7FC0));
    infinite = vorr_u16(infinite, vceq_u16(vand_u16(rounded, exponent), exponent));
    vst1_u16(out + i, rounded);
  }
  bool finite = vmaxv_u16(infinite) == 0;
  for (; i < n; ++i) {
    out[i] = float_to_bfloat16(in[i]);
    finite = finite && (out[i] & 0x7F80u) != 0x7F80u;
  }
  return finite;
}

void from_bfloat16_neon(const uint16_t* in, float* out, int64_t n) {
  int64_t i = 0;
  for (; i + 4 <= n; i += 4) vst1q_f32(out + i, vreinterpretq_f32_u32(vshlq_n_u32(vmovl_u16(vld1_u16(in + i)), 16)));
  for (; i < n; ++i) out[i] = bfloat16_to_float(in[i]);
}

}  // namespace pocketlora
