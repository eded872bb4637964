#include "kernels/common/vec_avx512.h"
#include "kernels/rms_norm/generic.h"

namespace pocketlora {

void rms_norm_avx512(const float* x, const float* weight, float eps, int64_t n_rows, int64_t width, float* y) {
  vec::rms_norm<vec::Avx512>(x, weight, eps, n_rows, width, y);
}

void rms_norm_backward_avx512(const float* dy, const float* x, const float* weight, float eps, int64_t n_rows,
                              int64_t width, float* dx) {
  vec::rms_norm_backward<vec::Avx512>(dy, x, weight, eps, n_rows, width, dx);
}

}  // namespace pocketlora
