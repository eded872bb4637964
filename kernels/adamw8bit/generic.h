#pragma once

#include <cstring>

#include "kernels/adamw8bit/adamw8bit.h"
#include "kernels/adamw8bit/dynamic_map.h"
#include "kernels/common/vec_math.h"

/** AdamW with 8-bit moments over an instruction set's vocabulary V. */
namespace pocketlora::vec {

inline constexpr float kSmallestMomentScale = 1e-12f;

/** @return the code nearest to x in [−1, 1] (or [0, 1]); of two that are equally near, the upper one. */
template <class V>
inline uint8_t encode(const DynamicMap& map, float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof(bits));
  constexpr int32_t kFirst = (127 - DynamicMap::kExponents) << DynamicMap::kMantissaBits;
  const int32_t index = static_cast<int32_t>((bits & 0x7FFFFFFFu) >> (23 - DynamicMap::kMantissaBits)) - kFirst + 1;
  int code = map.buckets[bits >> 31][index < 0 ? 0 : index];
  code += x >= map.values[code + 1] ? 1 : 0;
  const float below = map.values[code];
  return static_cast<uint8_t>(code + (x - below >= (map.values[code + 1] - below) * 0.5f ? 1 : 0));
}

/** A block of a moment in fp32. */
template <class V>
struct Block8 {
  static_assert(kMomentBlock % V::kLanes == 0, "whole vectors");
  alignas(64) float values[kMomentBlock];

  void decode(const DynamicMap& map, const uint8_t* codes, float scale) {
    for (int64_t i = 0; i < kMomentBlock; ++i) values[i] = map.values[codes[i]];
    const auto factor = V::set1(scale);
    for (int64_t i = 0; i < kMomentBlock; i += V::kLanes) V::store(values + i, V::mul(V::load(values + i), factor));
  }

  void encode(const DynamicMap& map, uint8_t* codes, float* scale) {
    auto largest = V::set1(kSmallestMomentScale);
    for (int64_t i = 0; i < kMomentBlock; i += V::kLanes) {
      const auto v = V::load(values + i);
      largest = V::max(largest, V::max(v, V::sub(V::zero(), v)));
    }
    *scale = V::maximum(largest);
    const auto divisor = V::set1(*scale);
    for (int64_t i = 0; i < kMomentBlock; i += V::kLanes) V::store(values + i, V::div(V::load(values + i), divisor));
    for (int64_t i = 0; i < kMomentBlock; ++i) codes[i] = vec::encode<V>(map, values[i]);
  }
};

template <class V>
void adamw8bit(float* params, const float* grads, const Moment8& first, const Moment8& second, int64_t n,
               const AdamW8Scalars& s) {
  const DynamicMap& signs = signed_dynamic_map();
  const DynamicMap& squares = unsigned_dynamic_map();
  const auto decay = V::set1(s.decay), rate1 = V::set1(s.one_minus_beta1), rate2 = V::set1(s.one_minus_beta2);
  const auto correction1 = V::set1(s.bias_correction1), root2 = V::set1(s.bias_correction2_sqrt);
  const auto epsilon = V::set1(s.epsilon), step = V::set1(s.learning_rate);
  Block8<V> m, v;
  for (int64_t block = 0; block < n / kMomentBlock; ++block) {
    const int64_t at = block * kMomentBlock;
    m.decode(signs, first.codes + at, first.scales[block]);
    v.decode(squares, second.codes + at, second.scales[block]);
    for (int64_t i = 0; i < kMomentBlock; i += V::kLanes) {
      const auto g = V::load(grads + at + i), old_m = V::load(m.values + i), old_v = V::load(v.values + i);
      const auto new_m = V::fma(rate1, V::sub(g, old_m), old_m);
      const auto new_v = V::fma(rate2, V::sub(V::mul(g, g), old_v), old_v);
      V::store(m.values + i, new_m);
      V::store(v.values + i, new_v);
      const auto denominator = V::add(V::div(V::sqrt(new_v), root2), epsilon);
      const auto update = V::div(V::mul(step, V::div(new_m, correction1)), denominator);
      V::store(params + at + i, V::sub(V::mul(V::load(params + at + i), decay), update));
    }
    m.encode(signs, first.codes + at, first.scales + block);
    v.encode(squares, second.codes + at, second.scales + block);
  }
}

}  // namespace pocketlora::vec
