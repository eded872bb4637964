#include "kernels/swiglu/swiglu.h"

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

double silu(double g) { return g / (1 + std::exp(-g)); }

void check_values(const SwigluKernel& kernel, int64_t n) {
  const Guarded<float> gate(test::random_floats(n, 1, 6.0f)), up(test::random_floats(n, 2)),
      dy(test::random_floats(n, 3));
  Guarded<float> y(n), dgate(n), dup(n);
  kernel.forward(gate.data(), up.data(), n, y.data());
  kernel.backward(dy.data(), gate.data(), up.data(), n, dgate.data(), dup.data());
  for (int64_t i = 0; i < n; ++i) {
    // exp within 2 ulp, one sum, one quotient: σ within 6 units of 2^-24; then two products.
    const double s = silu(gate[i]), where = 8 * kUnit;
    test::expect_near(y[i], s * up[i], where * std::abs(s * up[i]), "y " + std::to_string(i));
    test::expect_near(dup[i], s * dy[i], where * std::abs(s * dy[i]), "dup " + std::to_string(i));
    std::vector<double> g = {gate[i]};
    const auto slope = test::central_difference([&] { return silu(g[0]) * up[i] * dy[i]; }, g, 0,
                                                std::abs(silu(gate[i]) * up[i] * dy[i]));
    // σ·(1 + g·(1 − σ)): the terms' magnitudes, with 1 − σ known to 6 units absolutely.
    const double sigma = 1 / (1 + std::exp(-static_cast<double>(gate[i])));
    const double terms = sigma * (1 + std::abs(gate[i])) * std::abs(static_cast<double>(up[i]) * dy[i]);
    test::expect_near(dgate[i], slope.value, 16 * kUnit * terms + slope.error, "dgate " + std::to_string(i));
  }
}

void check_extremes(const SwigluKernel& kernel) {
  const std::vector<float> gate = {-200.0f, -100.0f, -90.0f, 0.0f, 90.0f, 200.0f, 1e4f, -1e4f};
  const std::vector<float> ones(gate.size(), 1.0f);
  std::vector<float> y(gate.size()), dgate(gate.size()), dup(gate.size());
  const int64_t n = static_cast<int64_t>(gate.size());
  kernel.forward(gate.data(), ones.data(), n, y.data());
  kernel.backward(ones.data(), gate.data(), ones.data(), n, dgate.data(), dup.data());
  for (size_t i = 0; i < gate.size(); ++i) {
    const double expected = std::max(0.0, static_cast<double>(gate[i]));
    EXPECT_NEAR(y[i], expected, 1e-30) << gate[i];
    EXPECT_NEAR(dup[i], expected, 1e-30) << gate[i];
    EXPECT_NEAR(dgate[i], gate[i] > 0 ? 1.0 : (gate[i] < 0 ? 0.0 : 0.5), 1e-30) << gate[i];
  }
}

#define PL_KERNEL(isa, forward, backward)                                                    \
  TEST(Swiglu, forward) {                                                                    \
    if (!isa_supported(Isa::isa)) GTEST_SKIP() << isa_name(Isa::isa) << " is not supported"; \
    for (int64_t n : {0, 1, 3, 8, 15, 16, 17, 1000}) check_values({forward, backward}, n);   \
    check_extremes({forward, backward});                                                     \
  }
#include "kernels/swiglu/kernels.inc"
#undef PL_KERNEL

TEST(Swiglu, DoesNotDependOnTheThreadsAndWorksInPlace) {
  const int64_t n = 50001;
  const auto gate = test::random_floats(n, 4), up = test::random_floats(n, 5), dy = test::random_floats(n, 6);
  for (Isa isa : supported_isas()) {
    std::vector<float> y(gate.size()), dgate(gate.size()), dup(gate.size());
    swiglu(gate.data(), up.data(), n, y.data(), isa);
    swiglu_backward(dy.data(), gate.data(), up.data(), n, dgate.data(), dup.data(), isa);
    const test::ScatteredThreads threads;
    std::vector<float> y2 = gate, dgate2 = gate, dup2 = up;
    swiglu(y2.data(), up.data(), n, y2.data(), isa);
    swiglu_backward(dy.data(), dgate2.data(), dup2.data(), n, dgate2.data(), dup2.data(), isa);
    EXPECT_EQ(y, y2) << isa_name(isa);
    EXPECT_EQ(dgate, dgate2) << isa_name(isa);
    EXPECT_EQ(dup, dup2) << isa_name(isa);
  }
}

}  // namespace
}  // namespace pocketlora
