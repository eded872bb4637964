#pragma once

#include "kernels/common/vec_math.h"
#include "kernels/rope/rope.h"

/** The rotation over an instruction set's vocabulary V; one .cc file an instruction set instantiates it. */
namespace pocketlora::vec {

template <class V>
inline void rotate_head(const float* x, const float* cos, const float* sin, typename V::F sign, int64_t half,
                        float* y) {
  for_each_vector<V>(half, [&](int64_t j, int64_t count) {
    const auto a = load_count<V>(x + j, count), b = load_count<V>(x + half + j, count);
    const auto c = load_count<V>(cos + j, count), s = V::mul(sign, load_count<V>(sin + j, count));
    store_count<V>(y + j, V::fnma(b, s, V::mul(a, c)), count);
    store_count<V>(y + half + j, V::fma(a, s, V::mul(b, c)), count);
  });
}

template <class V>
void rope(const float* x, const float* table, const RopeShape& shape, bool inverse, float* y) {
  const int64_t half = shape.rotary_dim / 2;
  const auto sign = V::set1(inverse ? -1.0f : 1.0f);
  for (int64_t i = 0; i < shape.n_rows; ++i, table += shape.rotary_dim) {
    for (int64_t head = 0; head < shape.num_heads; ++head, x += shape.head_dim, y += shape.head_dim) {
      rotate_head<V>(x, table, table + half, sign, half, y);
      for_each_vector<V>(shape.head_dim - shape.rotary_dim, [&](int64_t j, int64_t count) {
        store_count<V>(y + shape.rotary_dim + j, load_count<V>(x + shape.rotary_dim + j, count), count);
      });
    }
  }
}

}  // namespace pocketlora::vec
