#pragma once

#include "kernels/common/vec_math.h"
#include "kernels/rms_norm/rms_norm.h"

/** RMS norm over an instruction set's vocabulary V; one .cc file an instruction set instantiates it. */
namespace pocketlora::vec {

/** 1 / sqrt(mean(x²) + eps) in every lane. */
template <class V>
inline typename V::F inverse_rms(const float* x, float eps, int64_t width) {
  const float mean = dot<V>(x, x, width) / static_cast<float>(width);
  return V::div(V::set1(1.0f), V::sqrt(V::set1(mean + eps)));
}

template <class V>
void rms_norm(const float* x, const float* weight, float eps, int64_t n_rows, int64_t width, float* y) {
  for (int64_t i = 0; i < n_rows; ++i, x += width, y += width) {
    const auto r = inverse_rms<V>(x, eps, width);
    for_each_vector<V>(width, [&](int64_t j, int64_t count) {
      const auto normed = V::mul(load_count<V>(x + j, count), r);
      store_count<V>(y + j, V::mul(normed, load_count<V>(weight + j, count)), count);
    });
  }
}

/** Σ dy · weight · x. */
template <class V>
inline float dot3(const float* dy, const float* weight, const float* x, int64_t n) {
  auto sum = V::zero();
  for_each_vector<V>(n, [&](int64_t j, int64_t count) {
    const auto g = V::mul(load_count<V>(dy + j, count), load_count<V>(weight + j, count));
    sum = V::fma(g, load_count<V>(x + j, count), sum);
  });
  return V::sum(sum);
}

template <class V>
void rms_norm_backward(const float* dy, const float* x, const float* weight, float eps, int64_t n_rows, int64_t width,
                       float* dx) {
  for (int64_t i = 0; i < n_rows; ++i, dy += width, x += width, dx += width) {
    const auto r = inverse_rms<V>(x, eps, width);
    const auto mean = V::set1(dot3<V>(dy, weight, x, width) / static_cast<float>(width));
    const auto along = V::mul(V::mul(r, r), V::mul(r, mean));
    for_each_vector<V>(width, [&](int64_t j, int64_t count) {
      const auto g = V::mul(load_count<V>(dy + j, count), load_count<V>(weight + j, count));
      store_count<V>(dx + j, V::fnma(along, load_count<V>(x + j, count), V::mul(r, g)), count);
    });
  }
}

}  // namespace pocketlora::vec
