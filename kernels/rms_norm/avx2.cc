#include "kernels/common/vec_avx2.h"
#include "kernels/rms_norm/generic.h"

namespace pocketlora {

void rms_norm_avx2(const float* x, const float* weight, float eps, int64_t n_rows, int64_t width, float* y) {
  vec::rms_norm<vec::Avx2>(x, weight, eps, n_rows, width, y);
}

void rms_norm_backward_avx2(const float* dy, const float* x, const float* weight, float eps, int64_t n_rows,
                            int64_t width, float* dx) {
  vec::rms_norm_backward<vec::Avx2>(dy, x, weight, eps, n_rows, width, dx);
}

}  // namespace pocketlora
