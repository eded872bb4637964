#pragma once

#include <cstdint>
#include <cstring>
#include <limits>

#include "kernels/attention/cache.h"
#include "kernels/common/vec_math.h"

/** Reading and writing heads of the cache's formats, over an instruction set's vocabulary V. */
namespace pocketlora::vec {

/** Readers of `lanes` values of a stored head from its element d. A scaled reader's values are still to be multiplied
 * by scale(). */
template <class V>
struct Float32Head {
  static constexpr bool kScaled = false;
  static typename V::F load(const uint8_t* head, int64_t d, int64_t lanes) {
    return load_count<V>(reinterpret_cast<const float*>(head) + d, lanes);
  }
};

template <class V>
struct Float16Head {
  static constexpr bool kScaled = false;
  static typename V::F load(const uint8_t* head, int64_t d, int64_t lanes) {
    if (lanes == V::kLanes) return V::load_half(head + 2 * d);
    uint8_t rest[2 * V::kLanes] = {};
    std::memcpy(rest, head + 2 * d, static_cast<size_t>(2 * lanes));
    return V::load_half(rest);
  }
};

template <class V>
struct Int8Head {
  static constexpr bool kScaled = true;
  static float scale(const uint8_t* head) {
    float value;
    std::memcpy(&value, head, sizeof(value));  // a row need not be a multiple of 4 bytes
    return value;
  }
  static typename V::F load(const uint8_t* head, int64_t d, int64_t lanes) {
    if (lanes == V::kLanes) return V::load_int8(head + sizeof(float) + d);
    uint8_t rest[V::kLanes] = {};
    std::memcpy(rest, head + sizeof(float) + d, static_cast<size_t>(lanes));
    return V::load_int8(rest);
  }
};

/** x between −bound and bound; NaN stays NaN. */
template <class V>
inline typename V::F clamp_to(typename V::F x, float bound) {
  return V::max(V::set1(-bound), V::min(V::set1(bound), x));
}

template <class V>
void store_float16_head(const float* head, int64_t dim, uint8_t* stored) {
  constexpr float kLargestHalf = 65504.0f;
  for_each_vector<V>(dim, [&](int64_t d, int64_t lanes) {
    uint8_t halves[2 * V::kLanes];
    V::store_half(halves, clamp_to<V>(load_count<V>(head + d, lanes), kLargestHalf));
    std::memcpy(stored + 2 * d, halves, static_cast<size_t>(2 * lanes));
  });
}

template <class V>
void store_int8_head(const float* head, int64_t dim, uint8_t* stored) {
  auto largest = V::zero();
  for_each_vector<V>(dim, [&](int64_t d, int64_t lanes) {
    const auto x = load_count<V>(head + d, lanes);
    largest = V::max(largest, V::max(x, V::sub(V::zero(), x)));
  });
  const float scale = V::maximum(largest) / 127.0f;
  std::memcpy(stored, &scale, sizeof(scale));
  stored += sizeof(scale);
  if (!(scale > 0 && scale <= std::numeric_limits<float>::max())) {
    std::memset(stored, 0, static_cast<size_t>(dim));
    return;
  }
  for_each_vector<V>(dim, [&](int64_t d, int64_t lanes) {
    float values[V::kLanes];
    V::store(values, clamp_to<V>(V::round(V::div(load_count<V>(head + d, lanes), V::set1(scale))), 127.0f));
    // What is not a number has no integer.
    for (int64_t i = 0; i < lanes; ++i) {
      stored[d + i] = static_cast<uint8_t>(values[i] == values[i] ? static_cast<int>(values[i]) : 0);
    }
  });
}

template <class V>
void store_cache_head(CacheFormat format, const float* head, int64_t dim, uint8_t* stored) {
  switch (format) {
    case CacheFormat::kFloat32:
      std::memcpy(stored, head, static_cast<size_t>(dim) * sizeof(float));
      return;
    case CacheFormat::kFloat16:
      return store_float16_head<V>(head, dim, stored);
    case CacheFormat::kInt8:
      return store_int8_head<V>(head, dim, stored);
  }
}

}  // namespace pocketlora::vec
