#include "engine/extents.h"

#include <gtest/gtest.h>

namespace pocketlora {
namespace {

TEST(Extents, FillsInEveryKindOfDimension) {
  Extents extents;
  extents.rows = 7;
  extents.segments = 3;
  extents.cache = 100;
  const std::vector<Dim> shape = {
      {Dim::Kind::kRows, 0}, {Dim::Kind::kSegments, 0}, {Dim::Kind::kCache, 0}, {Dim::Kind::kFixed, 5}};
  const ConcreteShape concrete = concrete_shape(shape, extents);
  EXPECT_EQ(concrete.sizes, (std::array<int32_t, 4>{7, 4, 100, 5}));
  EXPECT_EQ(concrete.numel(), 7U * 4 * 100 * 5);
  extents.cache_row_bytes = 48;
  EXPECT_EQ(concrete_shape({{Dim::Kind::kCache, 0}, {Dim::Kind::kCacheRow, 0}}, extents).numel(), 100U * 48);
  EXPECT_EQ(concrete_shape({{Dim::Kind::kRank, 0}, {Dim::Kind::kFixed, 9}}, extents.with_rank(0)).numel(), 0U);
}

}  // namespace
}  // namespace pocketlora
