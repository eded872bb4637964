#include "kernels/common/simd_avx2.h"
#include "kernels/swiglu/simd.h"

namespace pocketlora {

void swiglu_avx2(const float* gate, const float* up, int64_t n, float* y) { simd::swiglu<simd::Avx2>(gate, up, n, y); }

void swiglu_backward_avx2(const float* dy, const float* gate, const float* up, int64_t n, float* dgate, float* dup) {
  simd::swiglu_backward<simd::Avx2>(dy, gate, up, n, dgate, dup);
}

}  // namespace pocketlora
