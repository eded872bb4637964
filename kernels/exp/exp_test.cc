#include "kernels/exp/exp.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>

#include "kernels/common/test_support.h"

namespace pocketlora {
namespace {

/** |actual − expected| in units in the last place of the float nearest to expected. */
double ulps(float actual, double expected) {
  const float nearest = static_cast<float>(expected);
  const double ulp = static_cast<double>(std::nextafter(nearest, INFINITY)) - nearest;
  return std::abs(actual - expected) / ulp;
}

/** Every 1021st float from low to high, in both signs' order. */
std::vector<float> sweep(float low, float high) {
  std::vector<float> values;
  for (float v = low; v < high;) {
    values.push_back(v);
    uint32_t bits;
    std::memcpy(&bits, &v, sizeof(bits));
    bits = (bits & 0x80000000u) != 0 ? bits - std::min(1021u, bits & 0x7FFFFFFFu) : bits + 1021u;
    if (bits == 0x80000000u) bits = 0;
    std::memcpy(&v, &bits, sizeof(bits));
  }
  return values;
}

void check_accuracy(ExpKernel kernel, const char* name) {
  const std::vector<float> x = sweep(-110.0f, 88.7228f);
  std::vector<float> y(x.size());
  kernel(x.data(), static_cast<int64_t>(x.size()), y.data());
  double worst = 0;
  float worst_at = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double error = ulps(y[i], std::exp(static_cast<double>(x[i])));
    if (error > worst) {
      worst = error;
      worst_at = x[i];
    }
  }
  std::printf("%s: at most %.3f ulp (at %.9g) over %zu values\n", name, worst, worst_at, x.size());
  EXPECT_LE(worst, 2.0);
}

void check_special(ExpKernel kernel) {
  const float infinity = std::numeric_limits<float>::infinity();
  const std::vector<float> x = {0.0f, -0.0f, infinity, -infinity, NAN, 88.73f, 1e30f, -104.1f, -1e30f, -87.5f, 88.72f};
  std::vector<float> y(x.size());
  kernel(x.data(), static_cast<int64_t>(x.size()), y.data());
  EXPECT_EQ(y[0], 1.0f);
  EXPECT_EQ(y[1], 1.0f);
  EXPECT_EQ(y[2], infinity);
  EXPECT_EQ(y[3], 0.0f);
  EXPECT_TRUE(std::isnan(y[4]));
  EXPECT_EQ(y[5], infinity);
  EXPECT_EQ(y[6], infinity);
  EXPECT_EQ(y[7], 0.0f);
  EXPECT_EQ(y[8], 0.0f);
  EXPECT_GT(y[9], 0.0f);
  EXPECT_LT(y[10], infinity);
}

void check_tails(ExpKernel kernel) {
  for (int64_t n = 0; n <= 40; ++n) {
    const test::Guarded<float> x(test::random_floats(n, 3, 5.0f));
    test::Guarded<float> y(n);
    kernel(x.data(), n, y.data());
    for (int64_t i = 0; i < n; ++i) EXPECT_LE(ulps(y[i], std::exp(static_cast<double>(x[i]))), 2.0) << n << " " << i;
  }
}

#define PL_KERNEL(isa, function)                                                             \
  TEST(Exp, function) {                                                                      \
    if (!isa_supported(Isa::isa)) GTEST_SKIP() << isa_name(Isa::isa) << " is not supported"; \
    check_accuracy(function, #function);                                                     \
    check_special(function);                                                                 \
    check_tails(function);                                                                   \
  }
#include "kernels/exp/kernels.inc"
#undef PL_KERNEL

}  // namespace
}  // namespace pocketlora
