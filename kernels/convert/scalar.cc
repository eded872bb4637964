#include "kernels/common/half.h"
#include "kernels/convert/convert.h"

namespace pocketlora {

bool to_half_scalar(const float* in, uint16_t* out, int64_t n) {
  bool finite = true;
  for (int64_t i = 0; i < n; ++i) {
    out[i] = float_to_half(in[i]);
    finite = finite && (out[i] & 0x7C00u) != 0x7C00u;
  }
  return finite;
}

void from_half_scalar(const uint16_t* in, float* out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] = half_to_float(in[i]);
}

bool to_bfloat16_scalar(const float* in, uint16_t* out, int64_t n) {
  bool finite = true;
  for (int64_t i = 0; i < n; ++i) {
    out[i] = float_to_bfloat16(in[i]);
    finite = finite && (out[i] & 0x7F80u) != 0x7F80u;
  }
  return finite;
}

void from_bfloat16_scalar(const uint16_t* in, float* out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] = bfloat16_to_float(in[i]);
}

}  // namespace pocketlora
