#include "kernels/rope/rope.h"

namespace pocketlora {
namespace {

void rotate_head(const float* x, const float* cos, const float* sin, float sign, int64_t half, float* y) {
  for (int64_t j = 0; j < half; ++j) {
    const float a = x[j], b = x[j + half], s = sign * sin[j];
    y[j] = a * cos[j] - b * s;
    y[j + half] = b * cos[j] + a * s;
  }
}

}  // namespace

void rope_scalar(const float* x, const float* table, const RopeShape& shape, bool inverse, float* y) {
  const int64_t half = shape.rotary_dim / 2;
  const float sign = inverse ? -1.0f : 1.0f;
  for (int64_t i = 0; i < shape.n_rows; ++i, table += shape.rotary_dim) {
    for (int64_t head = 0; head < shape.num_heads; ++head, x += shape.head_dim, y += shape.head_dim) {
      rotate_head(x, table, table + half, sign, half, y);
      for (int64_t j = shape.rotary_dim; j < shape.head_dim; ++j) y[j] = x[j];
    }
  }
}

}  // namespace pocketlora
