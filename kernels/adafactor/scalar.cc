#include "kernels/adafactor/adafactor.h"

namespace pocketlora {

void adafactor_squares_scalar(const float* grads, int64_t rows, int64_t cols, double* row_sums, float* col_sums) {
  for (int64_t j = 0; j < cols; ++j) col_sums[j] = 0;
  for (int64_t i = 0; i < rows; ++i) {
    row_sums[i] = 0;
    for (int64_t j = 0; j < cols; ++j) {
      const float g = grads[i * cols + j];
      row_sums[i] += static_cast<double>(g) * g;
      col_sums[j] += g * g;
    }
  }
}

double adafactor_norm_scalar(const float* grads, const float* row_factors, const float* col_factors, int64_t rows,
                             int64_t cols) {
  double sum = 0;
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < cols; ++j) {
      const float update = row_factors[i] * col_factors[j] * grads[i * cols + j];
      sum += static_cast<double>(update) * update;
    }
  }
  return sum;
}

void adafactor_apply_scalar(float* params, const float* grads, const float* row_factors, const float* col_factors,
                            int64_t rows, int64_t cols, float decay, float step) {
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < cols; ++j) {
      const float update = row_factors[i] * col_factors[j] * grads[i * cols + j];
      params[i * cols + j] = params[i * cols + j] * decay - step * update;
    }
  }
}

}  // namespace pocketlora
