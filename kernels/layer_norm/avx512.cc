#include "kernels/common/vec_avx512.h"
#include "kernels/layer_norm/generic.h"

namespace pocketlora {

void layer_norm_avx512(const float* x, const float* weight, const float* bias, float eps, int64_t n_rows, int64_t width,
                       float* y) {
  vec::layer_norm<vec::Avx512>(x, weight, bias, eps, n_rows, width, y);
}

void layer_norm_backward_avx512(const float* dy, const float* x, const float* weight, float eps, int64_t n_rows,
                                int64_t width, float* dx) {
  vec::layer_norm_backward<vec::Avx512>(dy, x, weight, eps, n_rows, width, dx);
}

}  // namespace pocketlora
