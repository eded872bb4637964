// Products of more than 16 rows in integers and in bf16, by the instruction sets that have them: what the others
// compute instead is tested as that (linear4_computed_as_test.cc holds them to it).

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <tuple>
#include <vector>

#include "kernels/linear4/linear4.h"
#include "kernels/q4/compute.h"
#include "kernels/q4/test_fixed.h"
#include "kernels/q4/test_matrix.h"
#include "kernels/q4/test_products.h"

namespace pocketlora {
namespace {

using test::at;
using test::backward_bound;
using test::first_rows;
using test::forward_bound;
using test::Guarded;
using test::Q4Shape;
using test::TestMatrix;
using test::wide_product;
using test::WideSums;

/// Values of very different size, as a language model has them.
std::vector<float> uneven(int64_t count, uint32_t seed) {
  std::vector<float> values = test::random_floats(count, seed);
  for (size_t i = 0; i < values.size(); i += 37) values[i] *= 300.0f;
  return values;
}

class Linear4Integers : public ::testing::TestWithParam<test::IntegerScheme> {
 protected:
  void SetUp() override {
    for (const Isa isa : supported_isas()) {
      if (computed_as(GetParam().compute, kFewRows + 1, isa) == GetParam().compute) isas_.push_back(isa);
    }
    if (isas_.empty()) GTEST_SKIP() << "no instruction set of this machine has them";
  }

  const ComputeScope scope_{GetParam().compute};
  std::vector<Isa> isas_;
};

INSTANTIATE_TEST_SUITE_P(All, Linear4Integers, ::testing::ValuesIn(test::kIntegerSchemes),
                         [](const auto& info) { return std::string(info.param.name); });

constexpr int64_t kMost = 40;
constexpr int64_t kRows[] = {17, 31, 32, 40};

std::vector<Q4Shape> shapes() {
  std::vector<Q4Shape> all = test::test_shapes();
  all.push_back({300, 530, Quant::kNf4, 64});  // several blocks of W either way
  return all;
}

TEST_P(Linear4Integers, Forward) {
  for (const Q4Shape& shape : shapes()) {
    const TestMatrix w(shape, 7);
    const std::vector<float> weights = w.values(), bias_values = test::random_floats(shape.rows, 9);
    const std::vector<float> values = uneven(kMost * shape.cols, 8);
    const WideSums expected = wide_product(values, shape.cols, shape.rows, [&](int64_t n, int64_t k) {
      return weights[static_cast<size_t>(n * shape.cols + k)];
    });
    std::vector<double> bounds;
    for (int64_t o = 0; o < kMost * shape.rows; ++o) {
      bounds.push_back(forward_bound(GetParam(), w, values.data() + o / shape.rows * shape.cols, o % shape.rows));
    }
    const Guarded<float> bias(bias_values);
    for (const int64_t n_rows : kRows) {
      const Guarded<float> x = first_rows(values, n_rows * shape.cols);
      for (const Isa isa : isas_) {
        Guarded<float> y(n_rows * shape.rows);
        linear4(x.data(), n_rows, w.matrix(), n_rows == 32 ? nullptr : bias.data(), y.data(), isa);
        for (int64_t o = 0; o < y.size(); ++o) {
          const double add = n_rows == 32 ? 0.0 : static_cast<double>(bias[o % shape.rows]);
          const auto i = static_cast<size_t>(o);
          test::expect_near(y[o], expected.value[i] + add, bounds[i] + test::sum_bound(shape.cols, std::abs(add)), [&] {
            return std::string(isa_name(isa)) + " " + at(shape, n_rows, o / shape.rows, o % shape.rows);
          });
        }
        if (::testing::Test::HasFailure()) return;
      }
    }
  }
}

TEST_P(Linear4Integers, Backward) {
  for (const Q4Shape& shape : shapes()) {
    const TestMatrix w(shape, 7);
    const std::vector<float> weights = w.values(), values = uneven(kMost * shape.rows, 11);
    const WideSums expected = wide_product(values, shape.rows, shape.cols, [&](int64_t k, int64_t n) {
      return weights[static_cast<size_t>(n * shape.cols + k)];
    });
    std::vector<double> bounds;
    for (int64_t o = 0; o < kMost * shape.cols; ++o) {
      bounds.push_back(backward_bound(GetParam(), w, values.data() + o / shape.cols * shape.rows, o % shape.cols));
    }
    for (const int64_t n_rows : kRows) {
      const Guarded<float> dy = first_rows(values, n_rows * shape.rows);
      for (const Isa isa : isas_) {
        Guarded<float> dx(n_rows * shape.cols);
        linear4_backward(dy.data(), n_rows, w.matrix(), dx.data(), isa);
        for (int64_t o = 0; o < dx.size(); ++o) {
          const auto i = static_cast<size_t>(o);
          test::expect_near(dx[o], expected.value[i], bounds[i], [&] {
            return std::string(isa_name(isa)) + " " + at(shape, n_rows, o / shape.cols, o % shape.cols);
          });
        }
        if (::testing::Test::HasFailure()) return;
      }
    }
  }
}

double relative_error(const std::vector<float>& found, const std::vector<float>& expected) {
  double difference = 0.0, norm = 0.0;
  for (size_t i = 0; i < found.size(); ++i) {
    difference += std::pow(static_cast<double>(found[i]) - static_cast<double>(expected[i]), 2);
    norm += std::pow(static_cast<double>(expected[i]), 2);
  }
  return std::sqrt(difference / norm);
}

/// What docs/layout.md says of random rows. A value v is rounded by u / sqrt(12) on average. int16, forward: u is 1.15
/// times the mean of 64 magnitudes · 64 · 7854 / 2^31 (the mean of |v| is 0.8 of its norm), and nf4's values are off by
/// 3.6e-5: 7.2e-5 together. Backward at 10000 it is 8e-5, and as much for W, whose unit is that of the largest of 64
/// scales of 0.5 to 1.5: 1.2e-4. int8: the largest of 64 normal values is 2.6 of their norm at most on average, so x is
/// off by 2.6 / 127 / sqrt(12) = 5.9e-3, nf4 forward by 4.7e-3 or less: 7.6e-3 together; W backward by
/// 1.5 / 127 / sqrt(12) of values whose norm is 0.57: 6.0e-3, 8.4e-3 together. bf16: a value in [1, 2) is rounded by
/// 2^-7 / sqrt(12), which is 1.5e-3 of x; the largest of W, which are its norm, lie between 1 and 1.5: 1.8e-3, 2.4e-3
/// together.
TEST_P(Linear4Integers, RandomRows) {
  const Compute compute = GetParam().compute;
  const double forward_limit = compute == Compute::kInt8 ? 8.0e-3 : compute == Compute::kBf16 ? 2.5e-3 : 7.5e-5;
  const double backward_limit = compute == Compute::kInt8 ? 9.0e-3 : compute == Compute::kBf16 ? 2.5e-3 : 1.2e-4;
  for (const Q4Shape& shape : {Q4Shape{256, 1024, Quant::kNf4, 64}, Q4Shape{256, 1024, Quant::kInt4, 32}}) {
    const TestMatrix w(shape, 3);
    const std::vector<float> x = test::random_floats(kMost * shape.cols, 1);
    const std::vector<float> dy = test::random_floats(kMost * shape.rows, 2);
    for (const Isa isa : isas_) {
      std::vector<float> y(dy.size()), dx(x.size()), y_integers(dy.size()), dx_integers(x.size());
      linear4(x.data(), kMost, w.matrix(), nullptr, y_integers.data(), isa);
      linear4_backward(dy.data(), kMost, w.matrix(), dx_integers.data(), isa);
      {
        const ComputeScope fp32(Compute::kFloat32);
        linear4(x.data(), kMost, w.matrix(), nullptr, y.data(), isa);
        linear4_backward(dy.data(), kMost, w.matrix(), dx.data(), isa);
      }
      EXPECT_LE(relative_error(y_integers, y), forward_limit) << isa_name(isa) << ", " << test::describe(shape);
      EXPECT_LE(relative_error(dx_integers, dx), backward_limit) << isa_name(isa) << ", " << test::describe(shape);
    }
  }
}

/// The last rows of a product are a block of their own, of fewer than 16.
TEST_P(Linear4Integers, RowsLeftOfABlock) {
  constexpr int64_t kAll = 259, kWide = 128;
  const TestMatrix w({kWide, kWide, Quant::kNf4, 64}, 3);
  const std::vector<float> x = test::random_floats(kAll * kWide, 1);
  const auto last = [](const std::vector<float>& all) { return std::vector<float>(all.end() - 3 * kWide, all.end()); };
  for (const Isa isa : isas_) {
    std::vector<float> y(x.size()), dx(x.size()), y_integers(x.size()), dx_integers(x.size());
    linear4(x.data(), kAll, w.matrix(), nullptr, y_integers.data(), isa);
    linear4_backward(x.data(), kAll, w.matrix(), dx_integers.data(), isa);
    const ComputeScope fp32(Compute::kFloat32);
    linear4(x.data(), kAll, w.matrix(), nullptr, y.data(), isa);
    linear4_backward(x.data(), kAll, w.matrix(), dx.data(), isa);
    EXPECT_LE(relative_error(last(y_integers), last(y)), 1e-2) << isa_name(isa);
    EXPECT_LE(relative_error(last(dx_integers), last(dx)), 1e-2) << isa_name(isa);
  }
}

TEST_P(Linear4Integers, DotAndMatrixProductsHaveTheSameBits) {
  if (GetParam().compute != Compute::kInt8 || !isa_supported(Isa::kNeonI8mm)) {
    GTEST_SKIP() << "needs int8 and " << isa_name(Isa::kNeonI8mm);
  }
  for (const Q4Shape& shape : shapes()) {
    const TestMatrix w(shape, 7);
    const std::vector<float> x = uneven(kMost * shape.cols, 8), dy = uneven(kMost * shape.rows, 11);
    std::vector<float> y[2], dx[2];
    for (const Isa isa : {Isa::kNeonDot, Isa::kNeonI8mm}) {
      std::vector<float>&to = y[isa == Isa::kNeonI8mm], &back = dx[isa == Isa::kNeonI8mm];
      to.resize(dy.size());
      back.resize(x.size());
      linear4(x.data(), kMost, w.matrix(), nullptr, to.data(), isa);
      linear4_backward(dy.data(), kMost, w.matrix(), back.data(), isa);
    }
    EXPECT_EQ(y[0], y[1]) << test::describe(shape);
    EXPECT_EQ(dx[0], dx[1]) << test::describe(shape);
  }
}

/// Every code the largest, every value the same: sums reach what 32 bits hold, and would change their sign beyond.
TEST_P(Linear4Integers, TheLargestSumsFit) {
  // Backward int8 rounds int4's 7 of 8 to 111 of 127.
  const double tolerance = GetParam().compute == Compute::kInt8 ? 2e-3 : 3e-4;
  constexpr int64_t kWide = 128;
  for (const auto& [quant, group, code, value] : {std::tuple<Quant, int, int, double>{Quant::kNf4, 64, 15, 1.0},
                                                  {Quant::kNf4, 64, 0, -1.0},
                                                  {Quant::kInt4, 32, 0, -8.0},
                                                  {Quant::kInt4, 64, 0, -8.0},
                                                  {Quant::kInt4, 128, 15, 7.0}}) {
    Q4Matrix w{nullptr, kWide, kWide, quant, group};
    std::vector<uint8_t> bytes(static_cast<size_t>(w.bytes()));
    for (int64_t i = 0; i < w.bytes(); ++i) {
      const bool is_code = i % w.tile_bytes() < kCodeBytes;
      // The half 1 is 0x3C00.
      bytes[static_cast<size_t>(i)] = static_cast<uint8_t>(is_code ? code * 17 : i % 2 == 0 ? 0x00 : 0x3C);
    }
    w.tiles = bytes.data();
    for (const float size : {1.0f, -3.0f, 0.99999f}) {
      const std::vector<float> x(17 * kWide, size);
      std::vector<float> y(x.size());
      for (const Isa isa : isas_) {
        const double expected = static_cast<double>(size) * value * kWide;
        linear4(x.data(), 17, w, nullptr, y.data(), isa);
        for (const float v : y) ASSERT_NEAR(v, expected, tolerance * std::abs(expected)) << isa_name(isa);
        linear4_backward(x.data(), 17, w, y.data(), isa);
        for (const float v : y) ASSERT_NEAR(v, expected, tolerance * std::abs(expected)) << isa_name(isa);
      }
    }
  }
}

TEST_P(Linear4Integers, KeepsWhatIsNotFinite) {
  constexpr int64_t kWide = 256;
  const TestMatrix w({kWide, kWide, Quant::kNf4, 64}, 12);
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    for (const int64_t column : {0, 70, 255}) {
      std::vector<float> x = test::random_floats(18 * kWide, 13), y(x.size());
      x[static_cast<size_t>(17 * kWide + column)] = bad;
      for (const Isa isa : isas_) {
        for (const bool forward : {true, false}) {
          if (forward) {
            linear4(x.data(), 18, w.matrix(), nullptr, y.data(), isa);
          } else {
            linear4_backward(x.data(), 18, w.matrix(), y.data(), isa);
          }
          for (int64_t o = 0; o < 18 * kWide; ++o) {
            EXPECT_EQ(std::isfinite(y[static_cast<size_t>(o)]), o < 17 * kWide)
                << isa_name(isa) << ", column " << column;
          }
        }
      }
    }
  }
}

TEST_P(Linear4Integers, RowsOfVerySmallOrLargeValues) {
  constexpr int64_t kWide = 256;
  const TestMatrix w({kWide, kWide, Quant::kNf4, 64}, 12);
  for (const float size : {0.0f, 1e-42f, 1e-31f, 1e30f}) {
    const std::vector<float> x(20 * kWide, size);
    std::vector<float> y(x.size(), 1.0f);
    for (const Isa isa : isas_) {
      linear4(x.data(), 20, w.matrix(), nullptr, y.data(), isa);
      for (const float v : y) EXPECT_LE(std::abs(v), std::max(1e-26f, 100.0f * size)) << isa_name(isa);
      linear4_backward(x.data(), 20, w.matrix(), y.data(), isa);
      for (const float v : y) EXPECT_LE(std::abs(v), std::max(1e-26f, 100.0f * size)) << isa_name(isa);
    }
  }
  // The sum of such magnitudes is beyond fp32, and they are not.
  std::vector<float> x(20 * kWide, 0.0f), y(x.size());
  std::fill(x.begin(), x.begin() + 64, 3e38f);
  for (const Isa isa : isas_) {
    linear4(x.data(), 20, w.matrix(), nullptr, y.data(), isa);
    for (size_t o = kWide; o < y.size(); ++o) EXPECT_EQ(y[o], 0.0f) << isa_name(isa);
  }
}

TEST_P(Linear4Integers, TheNumberOfRowsAndThreadsDoesNotMatter) {
  const Q4Shape shape{330, 1100, Quant::kNf4, 64};
  const TestMatrix w(shape, 16);
  constexpr int64_t kAll = 300;  // more than one block of activations holds
  const std::vector<float> x = test::random_floats(kAll * shape.cols, 17);
  const std::vector<float> dy = test::random_floats(kAll * shape.rows, 18);
  for (const Isa isa : isas_) {
    std::vector<float> y(dy.size()), dx(x.size());
    linear4(x.data(), kAll, w.matrix(), nullptr, y.data(), isa);
    linear4_backward(dy.data(), kAll, w.matrix(), dx.data(), isa);
    for (const int64_t n_rows : {17, 33, 48}) {
      std::vector<float> some_y(static_cast<size_t>(n_rows * shape.rows));
      std::vector<float> some_dx(static_cast<size_t>(n_rows * shape.cols));
      linear4(x.data(), n_rows, w.matrix(), nullptr, some_y.data(), isa);
      linear4_backward(dy.data(), n_rows, w.matrix(), some_dx.data(), isa);
      EXPECT_TRUE(std::equal(some_y.begin(), some_y.end(), y.begin())) << isa_name(isa) << ", " << n_rows << " rows";
      EXPECT_TRUE(std::equal(some_dx.begin(), some_dx.end(), dx.begin())) << isa_name(isa) << ", " << n_rows << " rows";
    }
    test::expect_same_on_threads(33 * shape.rows, isa_name(isa),
                                 [&](float* out) { linear4(x.data(), 33, w.matrix(), nullptr, out, isa); });
    test::expect_same_on_threads(33 * shape.cols, isa_name(isa),
                                 [&](float* out) { linear4_backward(dy.data(), 33, w.matrix(), out, isa); });
  }
}

}  // namespace
}  // namespace pocketlora
