#include <cmath>

#include "kernels/optim/optim.h"

namespace pocketlora {

void adamw_scalar(float* params, const float* grads, float* first_moment, float* second_moment, int64_t n,
                  const AdamWScalars& scalars) {
  for (int64_t i = 0; i < n; ++i) {
    const float g = grads[i];
    const float m = first_moment[i] + scalars.one_minus_beta1 * (g - first_moment[i]);
    const float v = scalars.beta2 * second_moment[i] + scalars.one_minus_beta2 * g * g;
    const float denominator = std::sqrt(v) / scalars.bias_correction2_sqrt + scalars.epsilon;
    first_moment[i] = m;
    second_moment[i] = v;
    params[i] = params[i] * scalars.decay - scalars.step_size * (m / denominator);
  }
}

void sgd_scalar(float* params, const float* grads, float* momentum_buffer, int64_t n, const SgdScalars& scalars) {
  for (int64_t i = 0; i < n; ++i) {
    float g = grads[i] + scalars.weight_decay * params[i];
    if (momentum_buffer != nullptr) g = momentum_buffer[i] = scalars.momentum * momentum_buffer[i] + g;
    params[i] -= scalars.learning_rate * g;
  }
}

void lion_scalar(float* params, const float* grads, float* momentum, int64_t n, const LionScalars& scalars) {
  for (int64_t i = 0; i < n; ++i) {
    const float g = grads[i], m = momentum[i];
    const float direction = scalars.beta1 * m + scalars.one_minus_beta1 * g;
    const float sign = direction > 0.0f ? 1.0f : (direction < 0.0f ? -1.0f : 0.0f);
    momentum[i] = scalars.beta2 * m + scalars.one_minus_beta2 * g;
    params[i] = params[i] * scalars.decay - scalars.learning_rate * sign;
  }
}

double squared_norm_scalar(const float* values, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(values[i]) * values[i];
  return sum;
}

}  // namespace pocketlora
