#include <cmath>

#include "kernels/layer_norm/layer_norm.h"

namespace pocketlora {
namespace {

/** m and r of one row. */
struct Moments {
  double mean, inverse_deviation;
};

Moments moments(const float* x, float eps, int64_t width) {
  double sum = 0, squares = 0;
  for (int64_t j = 0; j < width; ++j) sum += x[j];
  const double mean = sum / static_cast<double>(width);
  for (int64_t j = 0; j < width; ++j) squares += (x[j] - mean) * (x[j] - mean);
  return {mean, 1.0 / std::sqrt(squares / static_cast<double>(width) + eps)};
}

}  // namespace

void layer_norm_scalar(const float* x, const float* weight, const float* bias, float eps, int64_t n_rows, int64_t width,
                       float* y) {
  for (int64_t i = 0; i < n_rows; ++i, x += width, y += width) {
    const Moments row = moments(x, eps, width);
    for (int64_t j = 0; j < width; ++j) {
      const double normed = (x[j] - row.mean) * row.inverse_deviation;
      y[j] = static_cast<float>(normed * (weight != nullptr ? weight[j] : 1) + (bias != nullptr ? bias[j] : 0));
    }
  }
}

void layer_norm_backward_scalar(const float* dy, const float* x, const float* weight, float eps, int64_t n_rows,
                                int64_t width, float* dx) {
  for (int64_t i = 0; i < n_rows; ++i, dy += width, x += width, dx += width) {
    const Moments row = moments(x, eps, width);
    const double r = row.inverse_deviation;
    double mean_g = 0, along = 0;
    for (int64_t j = 0; j < width; ++j) {
      const double g = static_cast<double>(dy[j]) * (weight != nullptr ? weight[j] : 1);
      mean_g += g / static_cast<double>(width);
      along += g * (x[j] - row.mean) * r / static_cast<double>(width);
    }
    for (int64_t j = 0; j < width; ++j) {
      const double g = static_cast<double>(dy[j]) * (weight != nullptr ? weight[j] : 1);
      dx[j] = static_cast<float>(r * (g - mean_g - (x[j] - row.mean) * r * along));
    }
  }
}

}  // namespace pocketlora
