#pragma once

#include "kernels/common/vec_math.h"
#include "kernels/layer_norm/layer_norm.h"

/** Layer norm over an instruction set's vocabulary V; one .cc file an instruction set instantiates it. */
namespace pocketlora::vec {

/** m and r of one row, in every lane. */
template <class V>
struct RowMoments {
  typename V::F mean, inverse_deviation;
};

template <class V>
inline RowMoments<V> row_moments(const float* x, float eps, int64_t width) {
  auto sum = V::zero();
  for_each_vector<V>(width, [&](int64_t j, int64_t count) { sum = V::add(sum, load_count<V>(x + j, count)); });
  const auto mean = V::set1(V::sum(sum) / static_cast<float>(width));
  float squares = 0;
  auto lanes = V::zero();
  for_each_vector<V>(width, [&](int64_t j, int64_t count) {
    const auto centred = V::sub(load_count<V>(x + j, count), mean);
    if (count == V::kLanes) {
      lanes = V::fma(centred, centred, lanes);
    } else {
      // The lanes beyond the row hold -m: they must not count.
      float rest[V::kLanes];
      V::store(rest, centred);
      for (int64_t i = 0; i < count; ++i) squares += rest[i] * rest[i];
    }
  });
  const float variance = (V::sum(lanes) + squares) / static_cast<float>(width);
  return {mean, V::div(V::set1(1.0f), V::sqrt(V::set1(variance + eps)))};
}

/** values · weight, where there is one. */
template <class V>
inline typename V::F times(typename V::F values, const float* weight, int64_t j, int64_t count) {
  return weight != nullptr ? V::mul(values, load_count<V>(weight + j, count)) : values;
}

template <class V>
void layer_norm(const float* x, const float* weight, const float* bias, float eps, int64_t n_rows, int64_t width,
                float* y) {
  for (int64_t i = 0; i < n_rows; ++i, x += width, y += width) {
    const RowMoments<V> row = row_moments<V>(x, eps, width);
    for_each_vector<V>(width, [&](int64_t j, int64_t count) {
      const auto normed = V::mul(V::sub(load_count<V>(x + j, count), row.mean), row.inverse_deviation);
      const auto scaled = times<V>(normed, weight, j, count);
      store_count<V>(y + j, bias != nullptr ? V::add(scaled, load_count<V>(bias + j, count)) : scaled, count);
    });
  }
}

template <class V>
void layer_norm_backward(const float* dy, const float* x, const float* weight, float eps, int64_t n_rows, int64_t width,
                         float* dx) {
  for (int64_t i = 0; i < n_rows; ++i, dy += width, x += width, dx += width) {
    const RowMoments<V> row = row_moments<V>(x, eps, width);
    auto sum = V::zero(), along = V::zero();
    for_each_vector<V>(width, [&](int64_t j, int64_t count) {
      // g is 0 in the lanes beyond the row.
      const auto g = times<V>(load_count<V>(dy + j, count), weight, j, count);
      sum = V::add(sum, g);
      along = V::fma(g, V::sub(load_count<V>(x + j, count), row.mean), along);
    });
    const auto size = V::set1(static_cast<float>(width)), r = row.inverse_deviation;
    const auto mean_g = V::div(V::set1(V::sum(sum)), size);
    const auto slope = V::mul(V::mul(r, r), V::div(V::set1(V::sum(along)), size));
    for_each_vector<V>(width, [&](int64_t j, int64_t count) {
      const auto g = times<V>(load_count<V>(dy + j, count), weight, j, count);
      const auto centred = V::sub(load_count<V>(x + j, count), row.mean);
      store_count<V>(dx + j, V::mul(r, V::fnma(slope, centred, V::sub(g, mean_g))), count);
    });
  }
}

}  // namespace pocketlora::vec
