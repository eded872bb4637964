#pragma once

#include "kernels/adafactor/adafactor.h"
#include "kernels/common/vec_math.h"

/** Adafactor's passes over an instruction set's vocabulary V. */
namespace pocketlora::vec {

template <class V>
void adafactor_squares(const float* grads, int64_t rows, int64_t cols, double* row_sums, float* col_sums) {
  for (int64_t j = 0; j < cols; ++j) col_sums[j] = 0;
  for (int64_t r = 0; r < rows; ++r) {
    const float* row = grads + r * cols;
    auto sum = V::zero_double();
    for_each_vector<V>(cols, [&](int64_t j, int64_t count) {
      const auto g = load_count<V>(row + j, count);
      sum = V::add_squares(g, sum);
      store_count<V>(col_sums + j, V::fma(g, g, load_count<V>(col_sums + j, count)), count);
    });
    row_sums[r] = V::sum_double(sum);
  }
}

template <class V>
double adafactor_norm(const float* grads, const float* row_factors, const float* col_factors, int64_t rows,
                      int64_t cols) {
  auto sum = V::zero_double();
  for (int64_t r = 0; r < rows; ++r) {
    const float* row = grads + r * cols;
    const auto factor = V::set1(row_factors[r]);
    for_each_vector<V>(cols, [&](int64_t j, int64_t count) {
      const auto scale = V::mul(factor, load_count<V>(col_factors + j, count));
      sum = V::add_squares(V::mul(scale, load_count<V>(row + j, count)), sum);
    });
  }
  return V::sum_double(sum);
}

template <class V>
void adafactor_apply(float* params, const float* grads, const float* row_factors, const float* col_factors,
                     int64_t rows, int64_t cols, float decay, float step) {
  const auto kept = V::set1(decay), rate = V::set1(step);
  for (int64_t r = 0; r < rows; ++r) {
    float* p = params + r * cols;
    const float* row = grads + r * cols;
    const auto factor = V::set1(row_factors[r]);
    for_each_vector<V>(cols, [&](int64_t j, int64_t count) {
      const auto scale = V::mul(factor, load_count<V>(col_factors + j, count));
      const auto update = V::mul(scale, load_count<V>(row + j, count));
      store_count<V>(p + j, V::fnma(rate, update, V::mul(load_count<V>(p + j, count), kept)), count);
    });
  }
}

}  // namespace pocketlora::vec
