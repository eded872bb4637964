#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "kernels/common/half.h"
#include "kernels/linear4/linear4.h"
#include "kernels/q4/compute.h"
#include "kernels/q4/test_products.h"

/// The largest sums that integers are made for, where nothing overflows or saturates, and the smallest rows.
namespace pocketlora {
namespace {

/// A matrix of one code, with all scales 1.
struct OneCode {
  OneCode(const test::Q4Shape& shape, int code) : matrix{nullptr, shape.rows, shape.cols, shape.quant, shape.group} {
    const uint16_t one = float_to_half(1.0f);
    for (int64_t i = 0; i < matrix.bytes(); ++i) {
      const bool is_code = i % matrix.tile_bytes() < kCodeBytes;
      bytes.push_back(static_cast<uint8_t>(is_code ? code | code << 4 : i % 2 == 0 ? one & 0xFF : one >> 8));
    }
    matrix.tiles = bytes.data();
  }
  OneCode(const OneCode&) = delete;
  std::vector<uint8_t> bytes;
  Q4Matrix matrix;
};

TEST(Linear4Limits, TheLargestSums) {
  constexpr int64_t kCols = 2048, kMost = 9;
  for (const test::Q4Shape& shape :
       {test::Q4Shape{16, kCols, Quant::kNf4, 64}, test::Q4Shape{16, kCols, Quant::kInt4, 32},
        test::Q4Shape{16, kCols, Quant::kInt4, 64}, test::Q4Shape{16, kCols, Quant::kInt4, 128}}) {
    for (const int code : {0, 15}) {
      const OneCode w(shape, code);
      for (const float x : {1.0f, -1.0f}) {
        const std::vector<float> rows(static_cast<size_t>(kMost * kCols), x);
        for (const Compute compute : {Compute::kInt16, Compute::kInt8}) {
          const ComputeScope scope(compute);
          // The value of the code is a whole number of units in each, or the largest integer; so is x.
          const double expected = static_cast<double>(q4_codebook(shape.quant)[code]) * x * kCols;
          for (Isa isa : supported_isas()) {
            for (const int64_t n_rows : {int64_t{1}, kMost}) {
              std::vector<float> y(static_cast<size_t>(n_rows * shape.rows));
              linear4(rows.data(), n_rows, w.matrix, nullptr, y.data(), isa);
              for (const float value : y) {
                test::expect_near(value, expected, test::sum_bound(kCols, std::abs(expected)), [&] {
                  return std::string(isa_name(isa)) + " " + compute_name(compute) + " " + test::describe(shape);
                });
              }
              if (::testing::Test::HasFailure()) return;
            }
          }
        }
      }
    }
  }
}

TEST(Linear4Limits, VerySmallAndZeroRows) {
  const OneCode w({16, 256, Quant::kNf4, 64}, 15);
  for (const Compute compute : {Compute::kInt16, Compute::kInt8}) {
    const ComputeScope scope(compute);
    for (const float size : {0.0f, 1e-42f, 1e-31f}) {
      const std::vector<float> x(256, size);
      std::vector<float> y(16, 1.0f);
      for (Isa isa : supported_isas()) {
        linear4(x.data(), 1, w.matrix, nullptr, y.data(), isa);
        for (const float v : y) EXPECT_LE(std::abs(v), 1e-28f) << isa_name(isa);
      }
    }
  }
}

}  // namespace
}  // namespace pocketlora
