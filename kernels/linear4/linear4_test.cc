#include "kernels/linear4/linear4.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <list>
#include <map>

#include "kernels/q4/compute.h"
#include "kernels/q4/test_matrix.h"
#include "kernels/q4/test_products.h"

namespace pocketlora {
namespace {

using test::at;
using test::first_rows;
using test::Guarded;
using test::Q4Shape;
using test::TestMatrix;
using test::wide_product;
using test::WideSums;

/// A matrix with inputs of as many rows as a test takes, and the products of all of them: those of fewer rows are the
/// first. Made once for all instruction sets.
struct Products {
  Products(const Q4Shape& the_shape, int64_t n_rows)
      : shape(the_shape),
        w(shape, 7),
        x(test::random_floats(n_rows * shape.cols, 8)),
        bias(test::random_floats(shape.rows, 9)),
        dy(test::random_floats(n_rows * shape.rows, 11)) {
    const std::vector<float> values = w.values();
    const auto at = [&](int64_t n, int64_t k) { return values[static_cast<size_t>(n * shape.cols + k)]; };
    y = wide_product(x, shape.cols, shape.rows, at);
    dx = wide_product(dy, shape.rows, shape.cols, [&](int64_t k, int64_t n) { return at(n, k); });
  }
  Products(const Products&) = delete;

  Q4Shape shape;
  TestMatrix w;
  std::vector<float> x, bias, dy;
  WideSums y, dx;
};

void check_forward(const Linear4Kernel& kernel, const Products& p, int64_t n_rows, bool with_bias) {
  const Guarded<float> x = first_rows(p.x, n_rows * p.shape.cols), bias(p.bias);
  Guarded<float> y(n_rows * p.shape.rows);
  kernel.forward(x.data(), n_rows, p.w.matrix(), with_bias ? bias.data() : nullptr, y.data());
  for (int64_t i = 0; i < n_rows; ++i) {
    for (int64_t n = 0; n < p.shape.rows; ++n) {
      const int64_t o = i * p.shape.rows + n;
      const double b = with_bias ? bias[n] : 0.0;
      const double magnitude = p.y.magnitude[static_cast<size_t>(o)] + std::abs(b);
      test::expect_near(y[o], p.y.value[static_cast<size_t>(o)] + b, test::sum_bound(p.shape.cols, magnitude),
                        [&] { return at(p.shape, n_rows, i, n); });
    }
  }
}

void check_backward(const Linear4Kernel& kernel, const Products& p, int64_t n_rows) {
  const Guarded<float> dy = first_rows(p.dy, n_rows * p.shape.rows);
  Guarded<float> dx(n_rows * p.shape.cols);
  kernel.backward(dy.data(), n_rows, p.w.matrix(), dx.data());
  for (int64_t i = 0; i < n_rows; ++i) {
    for (int64_t k = 0; k < p.shape.cols; ++k) {
      const auto o = static_cast<size_t>(i * p.shape.cols + k);
      test::expect_near(dx[static_cast<int64_t>(o)], p.dx.value[o], test::sum_bound(p.shape.rows, p.dx.magnitude[o]),
                        [&] { return at(p.shape, n_rows, i, k); });
    }
  }
}

void check(const Linear4Kernel& kernel) {
  static const std::list<Products> all = [] {
    std::list<Products> made;
    for (const Q4Shape& shape : test::test_shapes()) made.emplace_back(shape, 33);
    return made;
  }();
  for (const Products& products : all) {
    for (int64_t n_rows : {1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 15, 16, 17, 33}) {
      check_forward(kernel, products, n_rows, n_rows % 2 == 0);
      check_backward(kernel, products, n_rows);
      if (::testing::Test::HasFailure()) return;
    }
  }
  // More rows than one block of activations holds.
  static const Products many({20, 70, Quant::kNf4, 64}, 300);
  check_forward(kernel, many, 300, true);
  check_backward(kernel, many, 300);
}

#define PL_KERNEL(isa, forward, backward)                                                    \
  TEST(Linear4, forward) {                                                                   \
    if (!isa_supported(Isa::isa)) GTEST_SKIP() << isa_name(Isa::isa) << " is not supported"; \
    check({forward, backward});                                                              \
  }
#include "kernels/linear4/kernels.inc"
#undef PL_KERNEL

TEST(Linear4, BackwardIsTheTransposeOfForward) {
  // <dy, x W^T> = <dy W, x>, for every instruction set.
  const Q4Shape shape{70, 200, Quant::kNf4, 64};
  const TestMatrix w(shape, 12);
  const std::vector<float> x = test::random_floats(9 * shape.cols, 13);
  const std::vector<float> dy = test::random_floats(9 * shape.rows, 14);
  for (Isa isa : supported_isas()) {
    std::vector<float> y(dy.size()), dx(x.size());
    linear4(x.data(), 9, w.matrix(), nullptr, y.data(), isa);
    linear4_backward(dy.data(), 9, w.matrix(), dx.data(), isa);
    double left = 0.0, right = 0.0, magnitude = 0.0;
    for (size_t i = 0; i < y.size(); ++i) left += static_cast<double>(dy[i]) * y[i];
    for (size_t i = 0; i < x.size(); ++i) right += static_cast<double>(dx[i]) * x[i];
    for (int64_t i = 0; i < 9; ++i) {
      for (int64_t n = 0; n < shape.rows; ++n) {
        for (int64_t k = 0; k < shape.cols; ++k) {
          magnitude += std::abs(static_cast<double>(dy[static_cast<size_t>(i * shape.rows + n)]) * w.value(n, k) *
                                x[static_cast<size_t>(i * shape.cols + k)]);
        }
      }
    }
    // Each side carries the rounding of its own product.
    const double bound = test::sum_bound(shape.cols, magnitude) + test::sum_bound(shape.rows, magnitude);
    test::expect_near(left, right, bound, isa_name(isa));
  }
}

TEST(Linear4, ARowsBitsDoNotDependOnTheNumberOfRowsOfAShortPrompt) {
  constexpr int64_t kMost = 16;
  const Q4Shape shape{70, 200, Quant::kNf4, 64};
  const TestMatrix w(shape, 12);
  const std::vector<float> x = test::random_floats(kMost * shape.cols, 13);
  for (Isa isa : supported_isas()) {
    std::vector<float> all(static_cast<size_t>(kMost * shape.rows));
    linear4(x.data(), kMost, w.matrix(), nullptr, all.data(), isa);
    for (int64_t n_rows = 1; n_rows < kMost; ++n_rows) {
      std::vector<float> some(static_cast<size_t>(n_rows * shape.rows));
      linear4(x.data(), n_rows, w.matrix(), nullptr, some.data(), isa);
      EXPECT_TRUE(std::equal(some.begin(), some.end(), all.begin())) << isa_name(isa) << ", " << n_rows << " rows";
    }
  }
}

/// One of the integer computations: its largest integers (x_limit(): some kernels have more of them for x), and how
/// many columns of x share a scale.
struct Integers {
  Compute compute;
  const char* name;
  double x_limit, w_limit;
  int64_t columns;
};
constexpr Integers kIntegers[] = {{Compute::kInt16, "int16", 16383.0, 8191.0, 1024},
                                  {Compute::kInt8, "int8", 63.0, 127.0, 64}};

/// @return the largest integer of x that a kernel uses: sums of bytes in 32 bits leave room for a whole byte.
double x_limit(const Integers& integers, Isa isa) {
  const bool wide_sums = isa == Isa::kAvx512Vnni || isa == Isa::kNeonDot || isa == Isa::kNeonI8mm;
  return integers.compute == Compute::kInt8 && wide_sums ? 127.0 : integers.x_limit;
}

/// What integers may change in one product: half a unit of x's columns that share a scale, half a unit of the codebook,
/// and both together.
double integer_bound(const Integers& integers, double limit, const TestMatrix& w, const float* x, int64_t n) {
  const Q4Matrix& m = w.matrix();
  double bound = 0.0, magnitude = 0.0;
  for (int64_t first = 0; first < m.cols; first += integers.columns) {
    const int64_t end = std::min<int64_t>(first + integers.columns, m.cols);
    double largest = 0.0;
    for (int64_t k = first; k < end; ++k) largest = std::max(largest, std::abs(static_cast<double>(x[k])));
    const double x_unit = largest / limit;
    for (int64_t k = first; k < end; ++k) {
      // The codebook's values are at most 8 (int4, where the integers are exact) or 1 (nf4) times the scale.
      const double w_unit = m.quant == Quant::kInt4 ? 0.0 : static_cast<double>(w.scale(n, k)) / integers.w_limit;
      bound += 0.5 * x_unit * std::abs(static_cast<double>(w.value(n, k))) +
               0.5 * w_unit * std::abs(static_cast<double>(x[k])) + 0.25 * x_unit * w_unit;
      magnitude += std::abs(static_cast<double>(x[k]) * static_cast<double>(w.value(n, k)));
    }
  }
  return bound + test::sum_bound(m.cols, magnitude);
}

class Linear4Integers : public ::testing::TestWithParam<Integers> {};
INSTANTIATE_TEST_SUITE_P(Computes, Linear4Integers, ::testing::ValuesIn(kIntegers),
                         [](const auto& info) { return std::string(info.param.name); });

TEST_P(Linear4Integers, WithinTheirUnits) {
  const ComputeScope scope(GetParam().compute);
  constexpr int64_t kMost = 16;
  std::vector<Q4Shape> shapes = test::test_shapes();
  shapes.push_back({33, 2100, Quant::kNf4, 64});  // several scales of x in a row
  for (const Q4Shape& shape : shapes) {
    const TestMatrix w(shape, 7);
    const std::vector<float> weights = w.values(), bias_values = test::random_floats(shape.rows, 9);
    std::vector<float> values = test::random_floats(kMost * shape.cols, 8);
    // Columns of very different size, as a language model has them.
    for (size_t i = 0; i < values.size(); i += 37) values[i] *= 300.0f;
    const WideSums expected = wide_product(values, shape.cols, shape.rows, [&](int64_t n, int64_t k) {
      return weights[static_cast<size_t>(n * shape.cols + k)];
    });
    std::map<double, std::vector<double>> bounds_of;  // by the largest integer of x
    for (Isa isa : supported_isas()) {
      const double limit = x_limit(GetParam(), isa);
      std::vector<double>& bounds = bounds_of[limit];
      if (!bounds.empty()) continue;
      for (int64_t i = 0; i < kMost; ++i) {
        for (int64_t n = 0; n < shape.rows; ++n)
          bounds.push_back(integer_bound(GetParam(), limit, w, values.data() + i * shape.cols, n));
      }
    }
    const Guarded<float> bias(bias_values);
    for (int64_t n_rows : {1, 2, 3, 4, 7, 8, 11, 16}) {
      const Guarded<float> x = first_rows(values, n_rows * shape.cols);
      for (Isa isa : supported_isas()) {
        const std::vector<double>& bounds = bounds_of[x_limit(GetParam(), isa)];
        Guarded<float> y(n_rows * shape.rows);
        linear4(x.data(), n_rows, w.matrix(), bias.data(), y.data(), isa);
        for (int64_t i = 0; i < n_rows; ++i) {
          for (int64_t n = 0; n < shape.rows; ++n) {
            const auto o = static_cast<size_t>(i * shape.rows + n);
            test::expect_near(y[static_cast<int64_t>(o)], expected.value[o] + bias[n],
                              bounds[o] + 1e-7 * std::abs(bias[n]),
                              [&] { return std::string(isa_name(isa)) + " " + at(shape, n_rows, i, n); });
          }
        }
        if (::testing::Test::HasFailure()) return;
      }
    }
  }
}

TEST_P(Linear4Integers, AreAnotherComputation) {
  const TestMatrix w({64, 512, Quant::kNf4, 64}, 12);
  const std::vector<float> x = test::random_floats(512, 13);
  for (Isa isa : supported_isas()) {
    if (isa == Isa::kScalar) continue;  // it has fp32 only
    std::vector<float> fp32(64), integers(64);
    linear4(x.data(), 1, w.matrix(), nullptr, fp32.data(), isa);
    const ComputeScope scope(GetParam().compute);
    linear4(x.data(), 1, w.matrix(), nullptr, integers.data(), isa);
    EXPECT_NE(fp32, integers) << isa_name(isa);
  }
  EXPECT_EQ(active_compute(), Compute::kFloat32);
}

TEST_P(Linear4Integers, KeepWhatIsNotFinite) {
  const ComputeScope scope(GetParam().compute);
  const TestMatrix w({16, 256, Quant::kNf4, 64}, 12);
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    for (const int64_t column : {0, 70, 255}) {
      std::vector<float> x = test::random_floats(3 * 256, 13), y(3 * 16);
      x[static_cast<size_t>(256 + column)] = bad;
      for (Isa isa : supported_isas()) {
        linear4(x.data() + 256, 1, w.matrix(), nullptr, y.data(), isa);
        for (int i = 0; i < 16; ++i) EXPECT_FALSE(std::isfinite(y[i])) << isa_name(isa) << ", column " << column;
        // Between others it is the only one.
        linear4(x.data(), 3, w.matrix(), nullptr, y.data(), isa);
        for (int i = 0; i < 48; ++i)
          EXPECT_EQ(std::isfinite(y[i]), i / 16 != 1) << isa_name(isa) << ", column " << column;
      }
    }
  }
}

TEST_P(Linear4Integers, TheNumberOfRowsAndThreadsDoesNotMatter) {
  const ComputeScope scope(GetParam().compute);
  const Q4Shape shape{330, 1100, Quant::kNf4, 64};
  const TestMatrix w(shape, 16);
  const std::vector<float> x = test::random_floats(16 * shape.cols, 17);
  for (Isa isa : supported_isas()) {
    std::vector<float> all(static_cast<size_t>(16 * shape.rows));
    linear4(x.data(), 16, w.matrix(), nullptr, all.data(), isa);
    for (int64_t n_rows = 1; n_rows < 16; ++n_rows) {
      std::vector<float> some(static_cast<size_t>(n_rows * shape.rows));
      linear4(x.data(), n_rows, w.matrix(), nullptr, some.data(), isa);
      EXPECT_TRUE(std::equal(some.begin(), some.end(), all.begin())) << isa_name(isa) << ", " << n_rows << " rows";
    }
    test::expect_same_on_threads(16 * shape.rows, isa_name(isa),
                                 [&](float* y) { linear4(x.data(), 16, w.matrix(), nullptr, y, isa); });
  }
}

TEST(Linear4, TheNumberOfThreadsDoesNotMatter) {
  const Q4Shape shape{330, 1100, Quant::kNf4, 64};
  const TestMatrix w(shape, 16);
  for (int64_t n_rows : {1, 4, 33}) {
    const std::vector<float> x = test::random_floats(n_rows * shape.cols, 17);
    const std::vector<float> dy = test::random_floats(n_rows * shape.rows, 18);
    for (Isa isa : supported_isas()) {
      test::expect_same_on_threads(n_rows * shape.rows, isa_name(isa),
                                   [&](float* y) { linear4(x.data(), n_rows, w.matrix(), nullptr, y, isa); });
      test::expect_same_on_threads(n_rows * shape.cols, isa_name(isa),
                                   [&](float* dx) { linear4_backward(dy.data(), n_rows, w.matrix(), dx, isa); });
    }
  }
}

TEST(Linear4, NoRows) {
  const TestMatrix w({16, 128, Quant::kNf4, 64}, 15);
  for (Isa isa : supported_isas()) {
    linear4(nullptr, 0, w.matrix(), nullptr, nullptr, isa);
    linear4_backward(nullptr, 0, w.matrix(), nullptr, isa);
  }
}

}  // namespace
}  // namespace pocketlora
