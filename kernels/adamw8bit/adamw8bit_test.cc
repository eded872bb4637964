#include "kernels/adamw8bit/adamw8bit.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/adamw8bit/dynamic_map.h"
#include "kernels/common/test_support.h"
#include "kernels/common/test_threads.h"

namespace pocketlora {
namespace {

using test::Guarded;

constexpr double kUnit = std::numeric_limits<float>::epsilon() / 2;

/** Parameters and moments of `n` elements that start at nothing. */
struct State {
  Guarded<float> params, first_scales, second_scales;
  Guarded<uint8_t> first, second;

  State(int64_t n, uint32_t seed)
      : params(test::random_floats(n, seed)),
        first_scales(n / kMomentBlock),
        second_scales(n / kMomentBlock),
        first(n),
        second(n) {
    std::fill_n(first.data(), n, uint8_t{0});
    std::fill_n(second.data(), n, uint8_t{0});
    std::fill_n(first_scales.data(), n / kMomentBlock, 0.0f);
    std::fill_n(second_scales.data(), n / kMomentBlock, 0.0f);
  }
  void step(const float* grads, const AdamWOptions& options, Isa isa) {
    adamw8bit(params.data(), grads, {first.data(), first_scales.data()}, {second.data(), second_scales.data()},
              params.size(), options, isa);
  }
  float m(int64_t i) const { return signed_dynamic_map().values[first[i]] * first_scales[i / kMomentBlock]; }
  float v(int64_t i) const { return unsigned_dynamic_map().values[second[i]] * second_scales[i / kMomentBlock]; }
};

/** Half the distance between the map's neighbours of a scaled value: what storing it may be off by. */
double spacing(const DynamicMap& map, double scaled) {
  const float* above = std::lower_bound(map.values, map.values + 256, static_cast<float>(scaled));
  const auto at = std::min<int64_t>(std::max<int64_t>(above - map.values, 1), 255);
  double gap = 0;  // of the intervals around, since the value may lie on either side of a map value by rounding
  for (int64_t i = std::max<int64_t>(at - 1, 1); i <= std::min<int64_t>(at + 1, 255); ++i) {
    gap = std::max(gap, static_cast<double>(map.values[i]) - static_cast<double>(map.values[i - 1]));
  }
  return gap / 2;
}

/** A step from the state as stored, in double: parameters to rounding, moments to half a step of the map. */
void check(Isa isa, int64_t n, double weight_decay) {
  State state(n, 1);
  for (int64_t t = 1; t <= 5; ++t) {
    const AdamWOptions o{1e-2, 0.9, 0.999, 1e-8, weight_decay, t};
    const Guarded<float> g(test::random_floats(n, 10 + static_cast<uint32_t>(t), 0.1f));
    std::vector<double> m, v, p, bound, m_terms;
    for (int64_t i = 0; i < n; ++i) {
      const double old_m = state.m(i), old_v = state.v(i);
      m.push_back(old_m + 0.1 * (g[i] - old_m));
      v.push_back(old_v + 0.001 * (static_cast<double>(g[i]) * g[i] - old_v));
      const double root = std::sqrt(v.back()) / std::sqrt(1 - std::pow(0.999, t)) + o.epsilon;
      const double rate = o.learning_rate / (1 - std::pow(0.9, t)) / root;
      p.push_back(state.params[i] * (1 - o.learning_rate * weight_decay) - rate * m.back());
      m_terms.push_back(std::abs(old_m) + 0.2 * std::abs(static_cast<double>(g[i])));
      // The moment's error, about fourteen roundings of the update's factors, and two of the parameter.
      bound.push_back(rate * 6 * kUnit * m_terms.back() + 14 * kUnit * std::abs(rate * m.back()) +
                      3 * kUnit * (std::abs(p.back()) + std::abs(rate * m.back())));
    }
    state.step(g.data(), o, isa);
    for (int64_t i = 0; i < n; ++i) {
      const size_t at = static_cast<size_t>(i);
      test::expect_near(state.params[i], p[at], bound[at], "parameter");
      const double first_scale = state.first_scales[i / kMomentBlock];
      const double second_scale = state.second_scales[i / kMomentBlock];
      test::expect_near(
          state.m(i), m[at],
          first_scale * (spacing(signed_dynamic_map(), m[at] / first_scale) + 4 * kUnit) + 6 * kUnit * m_terms[at],
          "first moment");
      test::expect_near(state.v(i), v[at],
                        second_scale * (spacing(unsigned_dynamic_map(), v[at] / second_scale) + 4 * kUnit), "second");
    }
  }
}

#define PL_KERNEL(isa, step)                                                                 \
  TEST(AdamW8bit, step) {                                                                    \
    if (!isa_supported(Isa::isa)) GTEST_SKIP() << isa_name(Isa::isa) << " is not supported"; \
    for (int64_t n : {int64_t{0}, kMomentBlock, 5 * kMomentBlock}) {                         \
      for (double weight_decay : {0.0, 0.1}) check(Isa::isa, n, weight_decay);               \
    }                                                                                        \
  }
#include "kernels/adamw8bit/kernels.inc"
#undef PL_KERNEL

// torchao 0.18: min, max and a few values of create_dynamic_map(signed) and (unsigned).
TEST(AdamW8bit, MapsAreTorchaos) {
  const float* map = signed_dynamic_map().values;
  EXPECT_EQ(map[0], -0.99296874f);
  EXPECT_EQ(map[127], 0.0f);
  EXPECT_EQ(map[255], 1.0f);
  EXPECT_TRUE(std::is_sorted(map, map + 257));
  map = unsigned_dynamic_map().values;
  EXPECT_EQ(map[0], 0.0f);
  EXPECT_EQ(map[1], 3.2500003e-7f);
  EXPECT_EQ(map[255], 1.0f);
  EXPECT_TRUE(std::is_sorted(map, map + 257));
}

// The buckets find what a search finds: every map value, every middle between two, and the floats around them.
TEST(AdamW8bit, CodesAreTheNearest) {
  for (const bool is_signed : {true, false}) {
    const DynamicMap& map = is_signed ? signed_dynamic_map() : unsigned_dynamic_map();
    std::vector<float> inputs;
    for (int i = 0; i < 256; ++i) {
      const float value = map.values[i], next = map.values[std::min(i + 1, 255)];
      for (float x : {value, value + (next - value) * 0.5f}) {
        inputs.insert(inputs.end(), {std::nextafter(x, -2.0f), x, std::nextafter(x, 2.0f)});
      }
    }
    for (float& x : inputs) x = std::min(std::max(x, is_signed ? -1.0f : 0.0f), 1.0f);
    inputs.resize((inputs.size() / kMomentBlock + 1) * kMomentBlock, 1e-9f);
    // A block of moments that becomes these inputs: beta1 = 0 makes the first moment the gradient, beta2 = 0 the
    // second one its square. Each block has a 1, so that its scale is 1.
    for (size_t i = 0; i < inputs.size(); i += kMomentBlock) inputs[i] = 1.0f;
    const auto n = static_cast<int64_t>(inputs.size());
    for (Isa isa : supported_isas()) {
      State state(n, 3), expected(n, 3);
      state.step(inputs.data(), {0.0, 0.0, 0.0, 1.0, 0.0, 1}, isa);
      expected.step(inputs.data(), {0.0, 0.0, 0.0, 1.0, 0.0, 1}, Isa::kScalar);
      for (int64_t i = 0; i < n; ++i) {
        ASSERT_EQ(state.first[i], expected.first[i]) << isa_name(isa) << " " << inputs[static_cast<size_t>(i)];
        ASSERT_EQ(state.second[i], expected.second[i]) << isa_name(isa) << " " << inputs[static_cast<size_t>(i)];
      }
    }
  }
}

TEST(AdamW8bit, DoesNotDependOnTheThreads) {
  const int64_t n = 100 * kMomentBlock;
  const auto grads = test::random_floats(n, 6);
  for (Isa isa : supported_isas()) {
    const auto step = [&] {
      State state(n, 7);
      for (int64_t t = 1; t <= 2; ++t) state.step(grads.data(), {0.1, 0.9, 0.999, 1e-8, 0.1, t}, isa);
      std::vector<float> values(state.params.data(), state.params.data() + n);
      values.insert(values.end(), state.first_scales.data(), state.first_scales.data() + n / kMomentBlock);
      for (int64_t i = 0; i < n; ++i) values.push_back(static_cast<float>(state.first[i] + 256 * state.second[i]));
      return values;
    };
    const auto one = step();
    const test::ScatteredThreads threads;
    EXPECT_EQ(one, step()) << isa_name(isa);
  }
}

}  // namespace
}  // namespace pocketlora
