#include <cmath>

#include "kernels/rms_norm/rms_norm.h"

namespace pocketlora {
namespace {

double inverse_rms(const float* x, float eps, int64_t width) {
  double sum = 0;
  for (int64_t j = 0; j < width; ++j) sum += static_cast<double>(x[j]) * x[j];
  return 1.0 / std::sqrt(sum / static_cast<double>(width) + eps);
}

}  // namespace

void rms_norm_scalar(const float* x, const float* weight, float eps, int64_t n_rows, int64_t width, float* y) {
  for (int64_t i = 0; i < n_rows; ++i, x += width, y += width) {
    const float r = static_cast<float>(inverse_rms(x, eps, width));
    for (int64_t j = 0; j < width; ++j) y[j] = x[j] * r * weight[j];
  }
}

void rms_norm_backward_scalar(const float* dy, const float* x, const float* weight, float eps, int64_t n_rows,
                              int64_t width, float* dx) {
  for (int64_t i = 0; i < n_rows; ++i, dy += width, x += width, dx += width) {
    const double r = inverse_rms(x, eps, width);
    double sum = 0;
    for (int64_t j = 0; j < width; ++j) sum += static_cast<double>(dy[j]) * weight[j] * x[j];
    const float along = static_cast<float>(r * r * r * sum / static_cast<double>(width));
    const float scale = static_cast<float>(r);
    for (int64_t j = 0; j < width; ++j) dx[j] = scale * (dy[j] * weight[j]) - along * x[j];
  }
}

}  // namespace pocketlora
