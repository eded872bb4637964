#include "kernels/activation/activation.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "kernels/common/test_gradient.h"
#include "kernels/common/test_support.h"
#include "kernels/common/test_threads.h"

namespace pocketlora {
namespace {

using test::Guarded;

constexpr double kUnit = std::numeric_limits<float>::epsilon() / 2;
constexpr Activation kActivations[] = {Activation::kSilu, Activation::kGeluTanh};

const char* name_of(Activation activation) { return activation == Activation::kSilu ? "silu" : "gelu_tanh"; }

/** By the definitions that the model files give: x / (1 + e^-x), and x / 2 · (1 + tanh(√(2/π) (x + 0.044715 x³))). */
double value(Activation activation, double x) {
  if (activation == Activation::kSilu) return x / (1 + std::exp(-x));
  const double u = std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x);
  // 1 + tanh(u) = 2 / (1 + e^-2u), without the cancellation below 0.
  return x / (1 + std::exp(-2 * u));
}

/** |z(x)|, and the magnitude of σ·(1 + x·z'·(1 − σ)). */
struct Terms {
  double argument, slope;
};

Terms terms(Activation activation, double x) {
  const bool silu = activation == Activation::kSilu;
  const double linear = 2 * std::sqrt(2 / M_PI), cubic = 0.044715 * linear;
  const double z = silu ? x : x * (linear + cubic * x * x), rise = silu ? 1 : linear + 3 * cubic * x * x;
  return {std::abs(z), (1 + std::abs(x) * rise) / (1 + std::exp(-z))};
}

void check_values(const ActivationKernel& kernel, Activation activation, int64_t n) {
  const Guarded<float> gate(test::random_floats(n, 1, 6.0f)), up(test::random_floats(n, 2)),
      dy(test::random_floats(n, 3));
  Guarded<float> y(n), dgate(n), dup(n), alone(n), dalone(n);
  kernel.forward(activation, gate.data(), up.data(), n, y.data());
  kernel.backward(activation, dy.data(), gate.data(), up.data(), n, dgate.data(), dup.data());
  kernel.forward(activation, gate.data(), nullptr, n, alone.data());
  kernel.backward(activation, dy.data(), gate.data(), nullptr, n, dalone.data(), nullptr);
  for (int64_t i = 0; i < n; ++i) {
    const std::string at = std::string(name_of(activation)) + " of " + std::to_string(gate[i]);
    const double a = value(activation, gate[i]);
    const Terms t = terms(activation, gate[i]);
    // exp within 2 ulp, one sum, one quotient: σ within 6 units of 2^-24, and three roundings of z (none for silu's)
    // are errors of e^-z relative to 1; then two products. Below the normal numbers a spacing of the smallest.
    const double where = (8 + (activation == Activation::kSilu ? 0 : 3 * t.argument)) * kUnit;
    const double least = 4 * std::numeric_limits<float>::min() * (1 + std::abs(gate[i]));
    test::expect_near(alone[i], a, where * std::abs(a) + least, "a, " + at);
    test::expect_near(y[i], a * up[i], where * std::abs(a * up[i]) + least * std::abs(up[i]), "y, " + at);
    test::expect_near(dup[i], a * dy[i], where * std::abs(a * dy[i]) + least * std::abs(dy[i]), "dup, " + at);
    std::vector<double> g = {gate[i]};
    const auto slope = test::central_difference([&] { return value(activation, g[0]); }, g, 0, std::abs(a));
    // σ·(1 + x·z'·(1 − σ)): the terms' magnitudes, with 1 − σ known to as many units absolutely.
    const double bound = 2 * where * t.slope + least + slope.error, d = dy[i], du = d * up[i];
    test::expect_near(dalone[i], d * slope.value, std::abs(d) * bound, "dx, " + at);
    test::expect_near(dgate[i], du * slope.value, std::abs(du) * bound, "dgate, " + at);
  }
}

void check_extremes(const ActivationKernel& kernel, Activation activation) {
  const std::vector<float> gate = {-1e30f, -1e4f, -200.0f, -100.0f, -90.0f, 0.0f, 90.0f, 200.0f, 1e4f, 1e30f};
  const std::vector<float> ones(gate.size(), 1.0f);
  std::vector<float> y(gate.size()), dgate(gate.size()), dup(gate.size());
  const int64_t n = static_cast<int64_t>(gate.size());
  kernel.forward(activation, gate.data(), ones.data(), n, y.data());
  kernel.backward(activation, ones.data(), gate.data(), ones.data(), n, dgate.data(), dup.data());
  for (size_t i = 0; i < gate.size(); ++i) {
    const double expected = std::max(0.0, static_cast<double>(gate[i]));
    EXPECT_NEAR(y[i], expected, 1e-30) << gate[i];
    EXPECT_NEAR(dup[i], expected, 1e-30) << gate[i];
    EXPECT_NEAR(dgate[i], gate[i] > 0 ? 1.0 : (gate[i] < 0 ? 0.0 : 0.5), 1e-30) << gate[i];
  }
  const float nan = NAN;
  kernel.forward(activation, &nan, nullptr, 1, y.data());
  kernel.backward(activation, ones.data(), &nan, nullptr, 1, dgate.data(), nullptr);
  EXPECT_TRUE(std::isnan(y[0]));
  EXPECT_TRUE(std::isnan(dgate[0]));
}

void check_cap(const ActivationKernel& kernel) {
  for (float scale : {1e-6f, 1e-2f, 1.0f, 30.0f, 1e6f}) {
    for (int64_t n : {0, 1, 3, 8, 15, 16, 17, 1000}) {
      const Guarded<float> x(test::random_floats(n, 7, scale));
      Guarded<float> y(n);
      kernel.cap(x.data(), n, 30.0f, y.data());
      for (int64_t i = 0; i < n; ++i) {
        const double expected = 30.0 * std::tanh(x[i] / 30.0);
        // 1/cap, two products, and 4 ulp (8 units) of tanh, whose relative condition is at most 1.
        test::expect_near(y[i], expected, 12 * kUnit * std::abs(expected), "soft cap of " + std::to_string(x[i]));
        EXPECT_LE(std::abs(y[i]), 30.0f);
      }
    }
  }
  const std::vector<float> x = {NAN, INFINITY, -INFINITY, 0.0f};
  std::vector<float> y(x.size());
  kernel.cap(x.data(), 4, 30.0f, y.data());
  EXPECT_TRUE(std::isnan(y[0]));
  EXPECT_EQ(std::vector<float>(y.begin() + 1, y.end()), (std::vector<float>{30.0f, -30.0f, 0.0f}));
}

#define PL_KERNEL(isa, forward, backward, cap)                                                                \
  TEST(Activation, forward) {                                                                                 \
    if (!isa_supported(Isa::isa)) GTEST_SKIP() << isa_name(Isa::isa) << " is not supported";                  \
    for (Activation activation : kActivations) {                                                              \
      for (int64_t n : {0, 1, 3, 8, 15, 16, 17, 1000}) check_values({forward, backward, cap}, activation, n); \
      check_extremes({forward, backward, cap}, activation);                                                   \
    }                                                                                                         \
    check_cap({forward, backward, cap});                                                                      \
  }
#include "kernels/activation/kernels.inc"
#undef PL_KERNEL

TEST(Activation, DoesNotDependOnTheThreadsAndWorksInPlace) {
  const int64_t n = 50001;
  const auto gate = test::random_floats(n, 4), up = test::random_floats(n, 5), dy = test::random_floats(n, 6);
  for (Activation activation : kActivations) {
    for (Isa isa : supported_isas()) {
      std::vector<float> y(gate.size()), dgate(gate.size()), dup(gate.size()), alone(gate.size()), dalone(gate.size());
      gated(activation, gate.data(), up.data(), n, y.data(), isa);
      gated_backward(activation, dy.data(), gate.data(), up.data(), n, dgate.data(), dup.data(), isa);
      activate(activation, gate.data(), n, alone.data(), isa);
      activate_backward(activation, dy.data(), gate.data(), n, dalone.data(), isa);
      const test::ScatteredThreads threads;
      std::vector<float> y2 = gate, dgate2 = gate, dup2 = up, alone2 = gate, dalone2 = gate;
      gated(activation, y2.data(), up.data(), n, y2.data(), isa);
      gated_backward(activation, dy.data(), dgate2.data(), dup2.data(), n, dgate2.data(), dup2.data(), isa);
      activate(activation, alone2.data(), n, alone2.data(), isa);
      activate_backward(activation, dy.data(), dalone2.data(), n, dalone2.data(), isa);
      EXPECT_EQ(y, y2) << isa_name(isa);
      EXPECT_EQ(dgate, dgate2) << isa_name(isa);
      EXPECT_EQ(dup, dup2) << isa_name(isa);
      EXPECT_EQ(alone, alone2) << isa_name(isa);
      EXPECT_EQ(dalone, dalone2) << isa_name(isa);
    }
  }
}

TEST(SoftCap, DoesNotDependOnTheThreadsAndWorksInPlace) {
  const int64_t n = 50001;
  const auto x = test::random_floats(n, 8, 50.0f);
  for (Isa isa : supported_isas()) {
    std::vector<float> y(x.size()), in_place = x;
    soft_cap(x.data(), n, 30.0f, y.data(), isa);
    const test::ScatteredThreads threads;
    soft_cap(in_place.data(), n, 30.0f, in_place.data(), isa);
    EXPECT_EQ(y, in_place) << isa_name(isa);
  }
}

}  // namespace
}  // namespace pocketlora
