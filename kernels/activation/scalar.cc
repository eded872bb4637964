#include <algorithm>
#include <cmath>

#include "kernels/activation/activation.h"

namespace pocketlora {
namespace {

float sigmoid(float x) { return 1.0f / (1.0f + std::exp(-x)); }

// 2·√(2/π) and 0.044715 times it.
constexpr float kLinear = 1.5957691216057308f, kCubic = 0.044715f * kLinear;

/** z(x) and z'(x). */
struct Argument {
  float value, slope;
};

Argument argument(Activation activation, float x) {
  if (activation == Activation::kSilu) return {x, 1.0f};
  // Beyond 16, σ(z(x)) has long been 0 or 1: no power overflows. The operands' order lets a NaN through.
  const float b = std::min(std::max(x, -16.0f), 16.0f), square = b * b;
  return {b * (kLinear + kCubic * square), kLinear + 3 * kCubic * square};
}

}  // namespace

void activation_scalar(Activation activation, const float* gate, const float* up, int64_t n, float* y) {
  for (int64_t i = 0; i < n; ++i) {
    const float a = gate[i] * sigmoid(argument(activation, gate[i]).value);
    y[i] = up != nullptr ? a * up[i] : a;
  }
}

void activation_backward_scalar(Activation activation, const float* dy, const float* gate, const float* up, int64_t n,
                                float* dgate, float* dup) {
  for (int64_t i = 0; i < n; ++i) {
    const float g = gate[i], d = dy[i];
    const Argument z = argument(activation, g);
    const float s = sigmoid(z.value), slope = s * (1.0f + g * z.slope * (1.0f - s));
    if (up == nullptr) {
      dgate[i] = d * slope;
      continue;
    }
    const float u = up[i];
    dgate[i] = d * u * slope;
    dup[i] = d * g * s;
  }
}

void soft_cap_scalar(const float* x, int64_t n, float cap, float* y) {
  const float inverse = 1.0f / cap;
  for (int64_t i = 0; i < n; ++i) y[i] = cap * std::tanh(x[i] * inverse);
}

}  // namespace pocketlora
