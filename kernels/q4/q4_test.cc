#include "kernels/q4/q4.h"

#include <gtest/gtest.h>

#include "kernels/q4/test_matrix.h"

namespace pocketlora {
namespace {

using test::Guarded;
using test::Q4Shape;
using test::TestMatrix;

TEST(Q4, SizesAreThoseOfTheLayout) {
  const Q4Matrix nf4{nullptr, 17, 129, Quant::kNf4, 64};
  EXPECT_EQ(nf4.tile_bytes(), 1088);
  EXPECT_EQ(nf4.row_tiles(), 2);
  EXPECT_EQ(nf4.col_tiles(), 2);
  EXPECT_EQ(nf4.bytes(), 4 * 1088);
  EXPECT_EQ((Q4Matrix{nullptr, 16, 128, Quant::kInt4, 32}.tile_bytes()), 1152);
  EXPECT_EQ((Q4Matrix{nullptr, 16, 128, Quant::kInt4, 128}.tile_bytes()), 1088);
}

TEST(Q4, GroupsOfEachScheme) {
  for (int group : {0, 16, 32, 64, 128, 256}) {
    EXPECT_EQ(q4_group_supported(Quant::kNf4, group), group == 64) << group;
    EXPECT_EQ(q4_group_supported(Quant::kInt4, group), group == 32 || group == 64 || group == 128) << group;
  }
}

TEST(Q4, CodebooksAreSortedAndHoldZeroAtTheirZeroCode) {
  for (Quant quant : {Quant::kNf4, Quant::kInt4}) {
    const float* codebook = q4_codebook(quant);
    for (int i = 1; i < 16; ++i) EXPECT_LT(codebook[i - 1], codebook[i]);
    EXPECT_EQ(codebook[quant == Quant::kNf4 ? 7 : 8], 0.0f);
  }
}

TEST(Q4, DequantizesEveryRowExactly) {
  for (const Q4Shape& shape : test::test_shapes()) {
    const TestMatrix w(shape, 3);
    for (int64_t n = 0; n < shape.rows; ++n) {
      Guarded<float> row(shape.cols);
      q4_dequantize_row(w.matrix(), n, row.data());
      for (int64_t k = 0; k < shape.cols; ++k) {
        ASSERT_EQ(row[k], w.value(n, k)) << test::describe(shape) << " at " << n << ", " << k;
      }
    }
  }
}

TEST(Q4, ARangeOfRowsIsTheSameMatrix) {
  const TestMatrix w({100, 300, Quant::kInt4, 32}, 4);
  const Q4Matrix part = w.matrix().row_range(32, 50);
  Guarded<float> row(300);
  for (int64_t n = 0; n < 50; ++n) {
    q4_dequantize_row(part, n, row.data());
    for (int64_t k = 0; k < 300; ++k) ASSERT_EQ(row[k], w.value(32 + n, k));
  }
}

}  // namespace
}  // namespace pocketlora
