#include "kernels/common/simd_avx2.h"
#include "kernels/rms_norm/simd.h"

namespace pocketlora {

void rms_norm_avx2(const float* x, const float* weight, float eps, int64_t n_rows, int64_t width, float* y) {
  simd::rms_norm<simd::Avx2>(x, weight, eps, n_rows, width, y);
}

void rms_norm_backward_avx2(const float* dy, const float* x, const float* weight, float eps, int64_t n_rows, int64_t width,
                            float* dx) {
  simd::rms_norm_backward<simd::Avx2>(dy, x, weight, eps, n_rows, width, dx);
}

}  // namespace pocketlora
