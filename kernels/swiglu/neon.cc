#include "kernels/common/simd_neon.h"
#include "kernels/swiglu/simd.h"

namespace pocketlora {

void swiglu_neon(const float* gate, const float* up, int64_t n, float* y) { simd::swiglu<simd::Neon>(gate, up, n, y); }

void swiglu_backward_neon(const float* dy, const float* gate, const float* up, int64_t n, float* dgate, float* dup) {
  simd::swiglu_backward<simd::Neon>(dy, gate, up, n, dgate, dup);
}

}  // namespace pocketlora
