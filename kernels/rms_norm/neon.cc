#include "kernels/common/vec_neon.h"
#include "kernels/rms_norm/generic.h"

namespace pocketlora {

void rms_norm_neon(const float* x, const float* weight, float eps, int64_t n_rows, int64_t width, float* y) {
  vec::rms_norm<vec::Neon>(x, weight, eps, n_rows, width, y);
}

void rms_norm_backward_neon(const float* dy, const float* x, const float* weight, float eps, int64_t n_rows,
                            int64_t width, float* dx) {
  vec::rms_norm_backward<vec::Neon>(dy, x, weight, eps, n_rows, width, dx);
}

}  // namespace pocketlora
