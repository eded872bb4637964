#include "kernels/common/many_bf16_neon.h"
#include "kernels/linear4/generic.h"
#include "kernels/q4/compute.h"

namespace pocketlora {

void linear4_neon_bf16(const float* x, int64_t n_rows, const Q4Matrix& w, const float* bias, float* y) {
  if (!neon_bf16_computes(n_rows)) return linear4_neon_i8mm(x, n_rows, w, bias, y);
  linear4_generic<NeonBf16>(x, n_rows, w, bias, y);
}

void linear4_backward_neon_bf16(const float* dy, int64_t n_rows, const Q4Matrix& w, float* dx) {
  if (!neon_bf16_computes(n_rows)) return linear4_backward_neon_i8mm(dy, n_rows, w, dx);
  linear4_backward_generic<NeonBf16>(dy, n_rows, w, dx);
}

}  // namespace pocketlora
