#include "kernels/linear4/linear4.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <list>

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
