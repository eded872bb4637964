#include "kernels/common/vec_avx2.h"
#include "kernels/layer_norm/generic.h"

namespace pocketlora {

void layer_norm_avx2(const float* x, const float* weight, const float* bias, float eps, int64_t n_rows, int64_t width,
                     float* y) {
  vec::layer_norm<vec::Avx2>(x, weight, bias, eps, n_rows, width, y);
}

void layer_norm_backward_avx2(const float* dy, const float* x, const float* weight, float eps, int64_t n_rows,
                              int64_t width, float* dx) {
  vec::layer_norm_backward<vec::Avx2>(dy, x, weight, eps, n_rows, width, dx);
}

}  // namespace pocketlora
