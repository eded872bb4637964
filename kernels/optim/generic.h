#pragma once

#include "kernels/common/vec_math.h"
#include "kernels/optim/optim.h"

/** Optimizer steps over an instruction set's vocabulary V; one .cc file an instruction set instantiates it. */
namespace pocketlora::vec {

template <class V>
void adamw(float* params, const float* grads, float* first_moment, float* second_moment, int64_t n,
           const AdamWScalars& scalars) {
  const auto decay = V::set1(scalars.decay), rate1 = V::set1(scalars.one_minus_beta1), beta2 = V::set1(scalars.beta2);
  const auto rate2 = V::set1(scalars.one_minus_beta2), root2 = V::set1(scalars.bias_correction2_sqrt);
  const auto epsilon = V::set1(scalars.epsilon), step = V::set1(scalars.step_size);
  for_each_vector<V>(n, [&](int64_t i, int64_t count) {
    const auto g = load_count<V>(grads + i, count), old = load_count<V>(first_moment + i, count);
    const auto m = V::fma(rate1, V::sub(g, old), old);
    const auto v = V::fma(beta2, load_count<V>(second_moment + i, count), V::mul(V::mul(rate2, g), g));
    const auto denominator = V::add(V::div(V::sqrt(v), root2), epsilon);
    store_count<V>(first_moment + i, m, count);
    store_count<V>(second_moment + i, v, count);
    const auto decayed = V::mul(load_count<V>(params + i, count), decay);
    store_count<V>(params + i, V::fnma(step, V::div(m, denominator), decayed), count);
  });
}

template <class V>
void sgd(float* params, const float* grads, float* momentum_buffer, int64_t n, const SgdScalars& scalars) {
  const auto rate = V::set1(scalars.learning_rate), momentum = V::set1(scalars.momentum);
  const auto decay = V::set1(scalars.weight_decay);
  for_each_vector<V>(n, [&](int64_t i, int64_t count) {
    const auto p = load_count<V>(params + i, count);
    auto g = V::fma(decay, p, load_count<V>(grads + i, count));
    if (momentum_buffer != nullptr) {
      g = V::fma(momentum, load_count<V>(momentum_buffer + i, count), g);
      store_count<V>(momentum_buffer + i, g, count);
    }
    store_count<V>(params + i, V::fnma(rate, g, p), count);
  });
}

/** −1, 0 or 1. The two factors lift the smallest denormal above 1. */
template <class V>
typename V::F sign(typename V::F v) {
  const auto large = V::set1(0x1p100f), one = V::set1(1.0f);
  return V::max(V::min(V::mul(V::mul(v, large), large), one), V::sub(V::zero(), one));
}

template <class V>
void lion(float* params, const float* grads, float* momentum, int64_t n, const LionScalars& scalars) {
  const auto decay = V::set1(scalars.decay), rate = V::set1(scalars.learning_rate), beta1 = V::set1(scalars.beta1);
  const auto rate1 = V::set1(scalars.one_minus_beta1), beta2 = V::set1(scalars.beta2);
  const auto rate2 = V::set1(scalars.one_minus_beta2);
  for_each_vector<V>(n, [&](int64_t i, int64_t count) {
    const auto g = load_count<V>(grads + i, count), m = load_count<V>(momentum + i, count);
    const auto direction = V::fma(beta1, m, V::mul(rate1, g));
    store_count<V>(momentum + i, V::fma(beta2, m, V::mul(rate2, g)), count);
    const auto decayed = V::mul(load_count<V>(params + i, count), decay);
    store_count<V>(params + i, V::fnma(rate, sign<V>(direction), decayed), count);
  });
}

template <class V>
double squared_norm(const float* values, int64_t n) {
  auto sum = V::zero_double();
  for_each_vector<V>(n, [&](int64_t i, int64_t count) { sum = V::add_squares(load_count<V>(values + i, count), sum); });
  return V::sum_double(sum);
}

}  // namespace pocketlora::vec
