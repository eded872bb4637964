#include "kernels/layer_norm/layer_norm.h"

#include <gtest/gtest.h>

#include <cmath>

#include "kernels/common/test_gradient.h"
#include "kernels/common/test_support.h"
#include "kernels/common/test_threads.h"

namespace pocketlora {
namespace {

using test::Guarded;

constexpr float kEps = 1e-5f;

/** Which of the two vectors there are, and what is added to every x: far from 0, the mean's error counts. */
struct Variant {
  bool weight, bias;
  float offset;
};

constexpr Variant kVariants[] = {{true, true, 0.0f}, {true, false, 0.0f}, {false, false, 0.0f}, {true, true, 50.0f}};

/** One row in double, with bounds on the errors of its fp32 moments. */
struct Row {
  explicit Row(const std::vector<double>& x) : width(static_cast<int64_t>(x.size())) {
    double sum = 0, magnitude = 0, squares = 0;
    for (const double v : x) {
      sum += v;
      magnitude += std::abs(v);
    }
    mean = sum / static_cast<double>(width);
    for (const double v : x) squares += (v - mean) * (v - mean);
    r = 1 / std::sqrt(squares / static_cast<double>(width) + kEps);
    mean_error = test::sum_bound(width, magnitude / static_cast<double>(width));
    // The squares sum to their own precision; a mean off by e adds e² to their mean, and each difference is rounded.
    r_error = test::sum_bound(width, r) + r * r * r * mean_error * mean_error;
  }
  double normed(double x) const { return (x - mean) * r; }
  /** Of `normed` in fp32. */
  double normed_error(double x) const {
    return r * mean_error + std::abs(x - mean) * r_error + 0x1p-22 * std::abs(normed(x));
  }

  int64_t width;
  double mean = 0, r = 0, mean_error = 0, r_error = 0;
};

/** Inputs of one call. */
struct Case {
  Case(const Variant& the_variant, int64_t rows, int64_t columns)
      : variant(the_variant),
        n_rows(rows),
        width(columns),
        x(shifted(test::random_floats(rows * columns, 1), the_variant.offset)),
        dy(test::random_floats(rows * columns, 2)),
        weight(test::random_floats(columns, 3)),
        bias(test::random_floats(columns, 4)) {}

  static std::vector<float> shifted(std::vector<float> values, float offset) {
    for (float& value : values) value += offset;
    return values;
  }
  const float* weights() const { return variant.weight ? weight.data() : nullptr; }
  const float* biases() const { return variant.bias ? bias.data() : nullptr; }
  double weight_at(int64_t j) const { return variant.weight ? weight[j] : 1; }
  double bias_at(int64_t j) const { return variant.bias ? bias[j] : 0; }
  std::vector<double> row(int64_t i) const {
    return std::vector<double>(x.data() + i * width, x.data() + (i + 1) * width);
  }
  std::string at(int64_t i, int64_t j) const {
    return "width " + std::to_string(width) + ", offset " + std::to_string(variant.offset) + ", row " +
           std::to_string(i) + ", column " + std::to_string(j);
  }

  Variant variant;
  int64_t n_rows, width;
  Guarded<float> x, dy, weight, bias;
};

void check_forward(const LayerNormKernel& kernel, const Case& c) {
  Guarded<float> y(c.n_rows * c.width);
  kernel.forward(c.x.data(), c.weights(), c.biases(), kEps, c.n_rows, c.width, y.data());
  for (int64_t i = 0; i < c.n_rows; ++i) {
    const Row row(c.row(i));
    for (int64_t j = 0; j < c.width; ++j) {
      const double x = c.x[i * c.width + j], scaled = row.normed(x) * c.weight_at(j), expected = scaled + c.bias_at(j);
      const double bound =
          row.normed_error(x) * std::abs(c.weight_at(j)) + test::sum_bound(1, std::abs(scaled) + std::abs(expected), 1);
      test::expect_near(y[i * c.width + j], expected, bound, c.at(i, j));
    }
  }
}

/** Σ dy · layer_norm(x) of one row in double: its derivative is what the backward kernel computes. */
double weighted_norm(const Case& c, const std::vector<double>& x, const float* dy) {
  const Row row(x);
  double sum = 0;
  for (int64_t j = 0; j < c.width; ++j) sum += dy[j] * c.weight_at(j) * row.normed(x[static_cast<size_t>(j)]);
  return sum;
}

void check_backward(const LayerNormKernel& kernel, const Case& c) {
  Guarded<float> dx(c.n_rows * c.width);
  kernel.backward(c.dy.data(), c.x.data(), c.weights(), kEps, c.n_rows, c.width, dx.data());
  for (int64_t i = 0; i < c.n_rows; ++i) {
    std::vector<double> x = c.row(i);
    const Row row(x);
    const float* dy = c.dy.data() + i * c.width;
    // mean|g|, mean|g·n| and the error of the latter's terms.
    double g_mean = 0, along = 0, along_error = 0;
    for (int64_t j = 0; j < c.width; ++j) {
      const double g = std::abs(dy[j] * c.weight_at(j)) / static_cast<double>(c.width), v = x[static_cast<size_t>(j)];
      g_mean += g;
      along += g * std::abs(row.normed(v));
      along_error += g * row.normed_error(v);
    }
    const int64_t step = c.width > 64 ? 37 : 1;
    for (int64_t j = 0; j < c.width; j += step) {
      const size_t k = static_cast<size_t>(j);
      const double g = std::abs(dy[j] * c.weight_at(j)), n = std::abs(row.normed(x[k])), at = x[k];
      const auto expected = test::central_difference([&] { return weighted_norm(c, x, dy); }, x, k,
                                                     static_cast<double>(c.width) * along * (1 + std::abs(at) * row.r));
      const double magnitude = g + g_mean + n * along;
      const double bound =
          row.r * (test::sum_bound(c.width, magnitude, 16) + row.normed_error(at) * along + n * along_error) +
          row.r_error * magnitude;
      test::expect_near(dx[i * c.width + j], expected.value, bound + expected.error, c.at(i, j));
    }
  }
}

#define PL_KERNEL(isa, forward, backward)                                                    \
  TEST(LayerNorm, forward) {                                                                 \
    if (!isa_supported(Isa::isa)) GTEST_SKIP() << isa_name(Isa::isa) << " is not supported"; \
    for (const Variant& variant : kVariants) {                                               \
      for (int64_t width : {1, 2, 3, 7, 8, 9, 31, 64, 100, 576, 2049}) {                     \
        for (int64_t n_rows : {1, 3}) {                                                      \
          check_forward({forward, backward}, Case(variant, n_rows, width));                  \
          check_backward({forward, backward}, Case(variant, n_rows, width));                 \
        }                                                                                    \
      }                                                                                      \
    }                                                                                        \
  }
#include "kernels/layer_norm/kernels.inc"
#undef PL_KERNEL

TEST(LayerNorm, DoesNotDependOnTheThreadsAndWorksInPlace) {
  const int64_t n_rows = 61, width = 75;
  const auto x = test::random_floats(n_rows * width, 6), dy = test::random_floats(n_rows * width, 7);
  const auto weight = test::random_floats(width, 8), bias = test::random_floats(width, 9);
  for (Isa isa : supported_isas()) {
    std::vector<float> y(x.size()), dx(x.size()), y2 = x, dx2 = dy;
    layer_norm(x.data(), weight.data(), bias.data(), kEps, n_rows, width, y.data(), isa);
    layer_norm_backward(dy.data(), x.data(), weight.data(), kEps, n_rows, width, dx.data(), isa);
    const test::ScatteredThreads threads;
    layer_norm(y2.data(), weight.data(), bias.data(), kEps, n_rows, width, y2.data(), isa);
    layer_norm_backward(dx2.data(), x.data(), weight.data(), kEps, n_rows, width, dx2.data(), isa);
    EXPECT_EQ(y, y2) << isa_name(isa);
    EXPECT_EQ(dx, dx2) << isa_name(isa);
  }
}

TEST(LayerNorm, NoRows) {
  const std::vector<float> weight(21, 1.0f);
  for (Isa isa : supported_isas()) {
    layer_norm(nullptr, weight.data(), nullptr, kEps, 0, 21, nullptr, isa);
    layer_norm_backward(nullptr, nullptr, nullptr, kEps, 0, 21, nullptr, isa);
  }
}

}  // namespace
}  // namespace pocketlora
