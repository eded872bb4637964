#pragma once

#include "kernels/common/vec_math.h"
#include "kernels/swiglu/swiglu.h"

/** SwiGLU over an instruction set's vocabulary V; one .cc file an instruction set instantiates it. */
namespace pocketlora::vec {

template <class V>
void swiglu(const float* gate, const float* up, int64_t n, float* y) {
  for_each_vector<V>(n, [&](int64_t i, int64_t count) {
    const auto g = load_count<V>(gate + i, count), u = load_count<V>(up + i, count);
    store_count<V>(y + i, V::mul(V::mul(g, sigmoid<V>(g)), u), count);
  });
}

template <class V>
void swiglu_backward(const float* dy, const float* gate, const float* up, int64_t n, float* dgate, float* dup) {
  const auto one = V::set1(1.0f);
  for_each_vector<V>(n, [&](int64_t i, int64_t count) {
    const auto g = load_count<V>(gate + i, count), u = load_count<V>(up + i, count), d = load_count<V>(dy + i, count);
    const auto s = sigmoid<V>(g);
    const auto slope = V::mul(s, V::fma(g, V::sub(one, s), one));
    store_count<V>(dgate + i, V::mul(V::mul(d, u), slope), count);
    store_count<V>(dup + i, V::mul(V::mul(d, g), s), count);
  });
}

}  // namespace pocketlora::vec
