#include "kernels/common/simd_neon.h"
#include "kernels/rms_norm/simd.h"

namespace pocketlora {

void rms_norm_neon(const float* x, const float* weight, float eps, int64_t n_rows, int64_t width, float* y) {
  simd::rms_norm<simd::Neon>(x, weight, eps, n_rows, width, y);
}

void rms_norm_backward_neon(const float* dy, const float* x, const float* weight, float eps, int64_t n_rows, int64_t width,
                            float* dx) {
  simd::rms_norm_backward<simd::Neon>(dy, x, weight, eps, n_rows, width, dx);
}

}  // namespace pocketlora
