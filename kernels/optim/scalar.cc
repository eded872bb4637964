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

double squared_norm_scalar(const float* values, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(values[i]) * values[i];
  return sum;
}

}  // namespace pocketlora
