#include "kernels/adamw8bit/dynamic_map.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace pocketlora {
namespace {

/** Point i of `count` + 1 between 0.1 and 1, rounded as torch.linspace rounds on a CPU: once, from the nearer end. */
float boundary(int i, int count) {
  const float step = (1.0f - 0.1f) / static_cast<float>(count);
  if (i < (count + 1) / 2) return std::fma(step, static_cast<float>(i), 0.1f);
  return std::fma(-step, static_cast<float>(count - i), 1.0f);
}

/** The code of the largest value that is not above x; 0 where all are. */
uint8_t floor_code(const float* values, float x) {
  return static_cast<uint8_t>(std::max<int64_t>(std::upper_bound(values, values + 256, x) - values - 1, 0));
}

/** The number of a bucket that is nearest to 0. */
float start_of(int bucket) {
  if (bucket == 0) return 0.0f;
  const uint32_t bits =
      static_cast<uint32_t>(bucket - 1 + ((127 - DynamicMap::kExponents) << DynamicMap::kMantissaBits))
      << (23 - DynamicMap::kMantissaBits);
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

DynamicMap make_map(bool is_signed) {
  constexpr int kDecades = 7;
  DynamicMap map;
  int n = 0;
  for (int decade = 0; decade < kDecades; ++decade) {
    const int count = 1 << (is_signed ? decade : decade + 1);
    const float scale = static_cast<float>(std::pow(10.0, decade - kDecades + 1));
    for (int i = 0; i < count; ++i) {
      const float value = scale * ((boundary(i, count) + boundary(i + 1, count)) / 2.0f);
      map.values[n++] = value;
      if (is_signed) map.values[n++] = -value;
    }
  }
  map.values[n++] = 0.0f;
  map.values[n++] = 1.0f;
  std::sort(map.values, map.values + n);
  map.values[n] = std::numeric_limits<float>::infinity();
  for (int bucket = 0; bucket < DynamicMap::kBuckets; ++bucket) {
    // The lowest number of a negative bucket lies just before the next one's start.
    const bool last = bucket + 1 == DynamicMap::kBuckets;
    const float end = last ? 1.0f : std::nextafter(start_of(bucket + 1), 0.0f);
    map.buckets[0][bucket] = floor_code(map.values, start_of(bucket));
    map.buckets[1][bucket] = is_signed ? floor_code(map.values, -end) : 0;
  }
  return map;
}

}  // namespace

const DynamicMap& signed_dynamic_map() {
  static const DynamicMap map = make_map(true);
  return map;
}

const DynamicMap& unsigned_dynamic_map() {
  static const DynamicMap map = make_map(false);
  return map;
}

}  // namespace pocketlora
