#include "kernels/common/bytes_neon_i8mm.h"
#include "kernels/common/many_bytes_neon_i8mm.h"
#include "kernels/linear4/generic.h"
#include "kernels/q4/compute.h"

namespace pocketlora {

void linear4_neon_i8mm(const float* x, int64_t n_rows, const Q4Matrix& w, const float* bias, float* y) {
  if (active_compute() != Compute::kInt8) return linear4_neon(x, n_rows, w, bias, y);
  linear4_generic<NeonI8mm>(x, n_rows, w, bias, y);
}

void linear4_backward_neon_i8mm(const float* dy, int64_t n_rows, const Q4Matrix& w, float* dx) {
  if (active_compute() != Compute::kInt8 || n_rows <= q4::kGemvRows) return linear4_backward_neon(dy, n_rows, w, dx);
  linear4_backward_generic<NeonI8mm>(dy, n_rows, w, dx);
}

}  // namespace pocketlora
