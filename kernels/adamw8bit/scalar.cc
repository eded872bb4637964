#include <algorithm>
#include <cmath>

#include "kernels/adamw8bit/adamw8bit.h"
#include "kernels/adamw8bit/dynamic_map.h"

namespace pocketlora {
namespace {

constexpr float kSmallestScale = 1e-12f;

/** The code by its definition: the map value below x by bisection, or the one above it where that is as near. */
uint8_t nearest_code(const float* values, float x) {
  const auto below = std::max<int64_t>(std::upper_bound(values, values + 256, x) - values - 1, 0);
  const auto above = std::min<int64_t>(below + 1, 255);
  return static_cast<uint8_t>(x - values[below] >= (values[above] - values[below]) * 0.5f ? above : below);
}

void store_block(const float* moment, const DynamicMap& map, uint8_t* codes, float* scale) {
  float largest = kSmallestScale;
  for (int64_t i = 0; i < kMomentBlock; ++i) largest = std::max(largest, std::abs(moment[i]));
  for (int64_t i = 0; i < kMomentBlock; ++i) codes[i] = nearest_code(map.values, moment[i] / largest);
  *scale = largest;
}

}  // namespace

void adamw8bit_scalar(float* params, const float* grads, const Moment8& first, const Moment8& second, int64_t n,
                      const AdamW8Scalars& s) {
  const DynamicMap& signs = signed_dynamic_map();
  const DynamicMap& squares = unsigned_dynamic_map();
  float m[kMomentBlock], v[kMomentBlock];
  for (int64_t block = 0; block < n / kMomentBlock; ++block) {
    const int64_t at = block * kMomentBlock;
    for (int64_t i = 0; i < kMomentBlock; ++i) {
      const float g = grads[at + i];
      const float old_m = signs.values[first.codes[at + i]] * first.scales[block];
      const float old_v = squares.values[second.codes[at + i]] * second.scales[block];
      m[i] = old_m + s.one_minus_beta1 * (g - old_m);
      v[i] = old_v + s.one_minus_beta2 * (g * g - old_v);
      const float denominator = std::sqrt(v[i]) / s.bias_correction2_sqrt + s.epsilon;
      params[at + i] = params[at + i] * s.decay - s.learning_rate * (m[i] / s.bias_correction1) / denominator;
    }
    store_block(m, signs, first.codes + at, first.scales + block);
    store_block(v, squares, second.codes + at, second.scales + block);
  }
}

}  // namespace pocketlora
