#pragma once

#include "kernels/activation/activation.h"
#include "kernels/common/vec_math.h"

/** Activations over an instruction set's vocabulary V; one .cc file an instruction set instantiates it. */
namespace pocketlora::vec {

/** z(x) and z'(x) of an activation. */
template <class V>
struct Silu {
  using F = typename V::F;
  static F argument(F x) { return x; }
  static F slope(F) { return V::set1(1.0f); }
};

template <class V>
struct GeluTanh {
  using F = typename V::F;
  static constexpr float kLinear = 1.5957691216057308f, kCubic = 0.044715f * 1.5957691216057308f;
  /** Beyond 16, σ(z(x)) has long been 0 or 1: no power overflows. The operands' order lets a NaN through. */
  static F bounded(F x) { return V::min(V::set1(16.0f), V::max(V::set1(-16.0f), x)); }
  static F argument(F x) {
    const F b = bounded(x);
    return V::mul(b, V::fma(V::mul(b, b), V::set1(kCubic), V::set1(kLinear)));
  }
  static F slope(F x) {
    const F b = bounded(x);
    return V::fma(V::mul(b, b), V::set1(3 * kCubic), V::set1(kLinear));
  }
};

template <class V, class A, bool kGated>
void forward(const float* gate, const float* up, int64_t n, float* y) {
  for_each_vector<V>(n, [&](int64_t i, int64_t count) {
    const auto g = load_count<V>(gate + i, count);
    const auto a = V::mul(g, sigmoid<V>(A::argument(g)));
    if constexpr (kGated) {
      store_count<V>(y + i, V::mul(a, load_count<V>(up + i, count)), count);
    } else {
      store_count<V>(y + i, a, count);
    }
  });
}

template <class V, class A, bool kGated>
void backward(const float* dy, const float* gate, const float* up, int64_t n, float* dgate, float* dup) {
  const auto one = V::set1(1.0f);
  for_each_vector<V>(n, [&](int64_t i, int64_t count) {
    const auto g = load_count<V>(gate + i, count), d = load_count<V>(dy + i, count);
    const auto s = sigmoid<V>(A::argument(g));
    const auto slope = V::mul(s, V::fma(V::mul(g, A::slope(g)), V::sub(one, s), one));
    if constexpr (kGated) {
      const auto u = load_count<V>(up + i, count);
      store_count<V>(dgate + i, V::mul(V::mul(d, u), slope), count);
      store_count<V>(dup + i, V::mul(V::mul(d, g), s), count);
    } else {
      store_count<V>(dgate + i, V::mul(d, slope), count);
    }
  });
}

template <class V>
void activation_forward(Activation activation, const float* gate, const float* up, int64_t n, float* y) {
  switch (activation) {
    case Activation::kSilu:
      return up != nullptr ? forward<V, Silu<V>, true>(gate, up, n, y) : forward<V, Silu<V>, false>(gate, up, n, y);
    case Activation::kGeluTanh:
      return up != nullptr ? forward<V, GeluTanh<V>, true>(gate, up, n, y)
                           : forward<V, GeluTanh<V>, false>(gate, up, n, y);
  }
}

template <class V>
void activation_backward(Activation activation, const float* dy, const float* gate, const float* up, int64_t n,
                         float* dgate, float* dup) {
  switch (activation) {
    case Activation::kSilu:
      return up != nullptr ? backward<V, Silu<V>, true>(dy, gate, up, n, dgate, dup)
                           : backward<V, Silu<V>, false>(dy, gate, up, n, dgate, dup);
    case Activation::kGeluTanh:
      return up != nullptr ? backward<V, GeluTanh<V>, true>(dy, gate, up, n, dgate, dup)
                           : backward<V, GeluTanh<V>, false>(dy, gate, up, n, dgate, dup);
  }
}

template <class V>
void soft_cap(const float* x, int64_t n, float cap, float* y) {
  const auto inverse = V::set1(1.0f / cap), factor = V::set1(cap);
  for_each_vector<V>(n, [&](int64_t i, int64_t count) {
    store_count<V>(y + i, V::mul(factor, simd_tanh<V>(V::mul(load_count<V>(x + i, count), inverse))), count);
  });
}

}  // namespace pocketlora::vec
