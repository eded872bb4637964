#include "kernels/adafactor/generic.h"
#include "kernels/common/vec_neon.h"

namespace pocketlora {

void adafactor_squares_neon(const float* grads, int64_t rows, int64_t cols, double* row_sums, float* col_sums) {
  vec::adafactor_squares<vec::Neon>(grads, rows, cols, row_sums, col_sums);
}

double adafactor_norm_neon(const float* grads, const float* row_factors, const float* col_factors, int64_t rows,
                           int64_t cols) {
  return vec::adafactor_norm<vec::Neon>(grads, row_factors, col_factors, rows, cols);
}

void adafactor_apply_neon(float* params, const float* grads, const float* row_factors, const float* col_factors,
                          int64_t rows, int64_t cols, float decay, float step) {
  vec::adafactor_apply<vec::Neon>(params, grads, row_factors, col_factors, rows, cols, decay, step);
}

}  // namespace pocketlora
