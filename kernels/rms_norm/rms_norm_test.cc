#include "kernels/rms_norm/rms_norm.h"

#include <gtest/gtest.h>

#include <cmath>

#include "kernels/common/test_gradient.h"
#include "kernels/common/test_support.h"
#include "kernels/common/test_threads.h"

namespace pocketlora {
namespace {

using test::Guarded;

constexpr float kEps = 1e-5f;

double inverse_rms(const double* x, int64_t width) {
  double sum = 0;
  for (int64_t j = 0; j < width; ++j) sum += x[j] * x[j];
  return 1 / std::sqrt(sum / static_cast<double>(width) + kEps);
}

std::vector<double> widened(const Guarded<float>& values) {
  return std::vector<double>(values.data(), values.data() + values.size());
}

std::string at(int64_t width, int64_t i, int64_t j) {
  return "width " + std::to_string(width) + ", row " + std::to_string(i) + ", column " + std::to_string(j);
}

void check_forward(const RmsNormKernel& kernel, int64_t n_rows, int64_t width) {
  const Guarded<float> x(test::random_floats(n_rows * width, 1)), weight(test::random_floats(width, 2));
  Guarded<float> y(n_rows * width);
  kernel.forward(x.data(), weight.data(), kEps, n_rows, width, y.data());
  const std::vector<double> wide = widened(x);
  for (int64_t i = 0; i < n_rows; ++i) {
    const double r = inverse_rms(&wide[static_cast<size_t>(i * width)], width);
    for (int64_t j = 0; j < width; ++j) {
      const double expected = x[i * width + j] * r * weight[j];
      // All terms of the mean are positive: its relative error, halved by the root, is that of a sum of `width`
      // products.
      test::expect_near(y[i * width + j], expected, test::sum_bound(width, std::abs(expected)), at(width, i, j));
    }
  }
}

/** Σ dy · rms_norm(x) of one row in double: its derivative is what the backward kernel computes. */
double weighted_norm(const std::vector<double>& x, const float* dy, const float* weight) {
  const double r = inverse_rms(x.data(), static_cast<int64_t>(x.size()));
  double sum = 0;
  for (size_t j = 0; j < x.size(); ++j) sum += dy[j] * x[j] * r * weight[j];
  return sum;
}

void check_backward(const RmsNormKernel& kernel, int64_t n_rows, int64_t width) {
  const Guarded<float> x(test::random_floats(n_rows * width, 3)), dy(test::random_floats(n_rows * width, 4));
  const Guarded<float> weight(test::random_floats(width, 5));
  Guarded<float> dx(n_rows * width);
  kernel.backward(dy.data(), x.data(), weight.data(), kEps, n_rows, width, dx.data());
  for (int64_t i = 0; i < n_rows; ++i) {
    std::vector<double> row(x.data() + i * width, x.data() + (i + 1) * width);
    const float* d = dy.data() + i * width;
    const double r = inverse_rms(row.data(), width);
    double along = 0;
    for (int64_t j = 0; j < width; ++j) along += std::abs(d[j] * weight[j] * row[static_cast<size_t>(j)]);
    const int64_t step = width > 64 ? 37 : 1;
    for (int64_t j = 0; j < width; j += step) {
      const size_t k = static_cast<size_t>(j);
      const auto expected =
          test::central_difference([&] { return weighted_norm(row, d, weight.data()); }, row, k, r * along);
      const double magnitude =
          std::abs(r * d[j] * weight[j]) + std::abs(row[k]) * r * r * r * along / static_cast<double>(width);
      // Three factors r of half a sum's error each, and the sum over dy.
      test::expect_near(dx[i * width + j], expected.value, test::sum_bound(3 * width, magnitude, 24) + expected.error,
                        at(width, i, j));
    }
  }
}

void check(const RmsNormKernel& kernel) {
  for (int64_t width : {1, 2, 3, 7, 8, 9, 31, 64, 100, 576, 2049}) {
    for (int64_t n_rows : {1, 3}) {
      check_forward(kernel, n_rows, width);
      check_backward(kernel, n_rows, width);
    }
  }
}

#define PL_KERNEL(isa, forward, backward)                                                    \
  TEST(RmsNorm, forward) {                                                                   \
    if (!isa_supported(Isa::isa)) GTEST_SKIP() << isa_name(Isa::isa) << " is not supported"; \
    check({forward, backward});                                                              \
  }
#include "kernels/rms_norm/kernels.inc"
#undef PL_KERNEL

TEST(RmsNorm, DoesNotDependOnTheThreads) {
  const int64_t n_rows = 61, width = 75;
  const auto x = test::random_floats(n_rows * width, 6), dy = test::random_floats(n_rows * width, 7);
  const auto weight = test::random_floats(width, 8);
  for (Isa isa : supported_isas()) {
    std::vector<float> y(x.size()), dx(x.size()), y2(x.size()), dx2(x.size());
    rms_norm(x.data(), weight.data(), kEps, n_rows, width, y.data(), isa);
    rms_norm_backward(dy.data(), x.data(), weight.data(), kEps, n_rows, width, dx.data(), isa);
    const test::ScatteredThreads threads;
    rms_norm(x.data(), weight.data(), kEps, n_rows, width, y2.data(), isa);
    rms_norm_backward(dy.data(), x.data(), weight.data(), kEps, n_rows, width, dx2.data(), isa);
    EXPECT_EQ(y, y2) << isa_name(isa);
    EXPECT_EQ(dx, dx2) << isa_name(isa);
  }
}

TEST(RmsNorm, WorksInPlaceAndOnNothing) {
  const int64_t n_rows = 2, width = 21;
  const auto x = test::random_floats(n_rows * width, 9), weight = test::random_floats(width, 10);
  for (Isa isa : supported_isas()) {
    std::vector<float> y(x.size()), in_place = x;
    rms_norm(x.data(), weight.data(), kEps, n_rows, width, y.data(), isa);
    rms_norm(in_place.data(), weight.data(), kEps, n_rows, width, in_place.data(), isa);
    EXPECT_EQ(y, in_place) << isa_name(isa);
    rms_norm(nullptr, weight.data(), kEps, 0, width, nullptr, isa);
    rms_norm_backward(nullptr, nullptr, weight.data(), kEps, 0, width, nullptr, isa);
  }
}

}  // namespace
}  // namespace pocketlora
