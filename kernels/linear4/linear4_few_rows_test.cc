// Products of at most 16 rows in integers.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "kernels/linear4/linear4.h"
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

/// One of the integer computations: its largest integers, and how many columns of x share a scale.
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
  const bool wide_sums = isa != Isa::kScalar && isa != Isa::kAvx2 && isa != Isa::kAvx512 && isa != Isa::kNeon;
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

class Linear4FewRows : public ::testing::TestWithParam<Integers> {};
INSTANTIATE_TEST_SUITE_P(Computes, Linear4FewRows, ::testing::ValuesIn(kIntegers),
                         [](const auto& info) { return std::string(info.param.name); });

TEST_P(Linear4FewRows, WithinTheirUnits) {
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

TEST_P(Linear4FewRows, AreAnotherComputation) {
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

TEST_P(Linear4FewRows, KeepWhatIsNotFinite) {
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

TEST_P(Linear4FewRows, VerySmallAndZeroRows) {
  const ComputeScope scope(GetParam().compute);
  const TestMatrix w({16, 256, Quant::kNf4, 64}, 12);
  for (const float size : {0.0f, 1e-42f, 1e-31f}) {
    const std::vector<float> x(256, size);
    std::vector<float> y(16, 1.0f);
    for (Isa isa : supported_isas()) {
      linear4(x.data(), 1, w.matrix(), nullptr, y.data(), isa);
      for (const float v : y) EXPECT_LE(std::abs(v), 1e-28f) << isa_name(isa);
    }
  }
}

TEST_P(Linear4FewRows, TheNumberOfRowsAndThreadsDoesNotMatter) {
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

}  // namespace
}  // namespace pocketlora
