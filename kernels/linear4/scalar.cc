#include <algorithm>

#include "kernels/common/scratch.h"
#include "kernels/linear4/linear4.h"

namespace pocketlora {

void linear4_scalar(const float* x, int64_t n_rows, const Q4Matrix& w, const float* bias, float* y) {
  ScratchFrame frame;
  float* row = frame.floats(w.cols);
  for (int64_t n = 0; n < w.rows; ++n) {
    q4_dequantize_row(w, n, row);
    for (int64_t i = 0; i < n_rows; ++i) {
      float sum = 0.0f;
      for (int64_t k = 0; k < w.cols; ++k) sum += x[i * w.cols + k] * row[k];
      y[i * w.rows + n] = bias == nullptr ? sum : sum + bias[n];
    }
  }
}

void linear4_backward_scalar(const float* dy, int64_t n_rows, const Q4Matrix& w, float* dx) {
  ScratchFrame frame;
  float* row = frame.floats(w.cols);
  std::fill(dx, dx + n_rows * w.cols, 0.0f);
  for (int64_t n = 0; n < w.rows; ++n) {
    q4_dequantize_row(w, n, row);
    for (int64_t i = 0; i < n_rows; ++i) {
      const float g = dy[i * w.rows + n];
      for (int64_t k = 0; k < w.cols; ++k) dx[i * w.cols + k] += g * row[k];
    }
  }
}

}  // namespace pocketlora
