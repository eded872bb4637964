#include "engine/weight_stream.h"

#include <gtest/gtest.h>

namespace pocketlora {
namespace {

using Ranges = std::vector<PageRange>;

TEST(WeightStream, NeighboursAreOneRangeOfWholePages) {
  EXPECT_EQ(page_ranges({{8192, 9000}, {4096, 8000}}, 4096), (Ranges{{4096, 12288}}));
}

TEST(WeightStream, WhatLiesElsewhereIsARangeOfItsOwn) {
  EXPECT_EQ(page_ranges({{40960, 40961}, {100, 200}}, 4096), (Ranges{{0, 4096}, {40960, 45056}}));
  EXPECT_EQ(page_ranges({}, 4096), Ranges{});
}

TEST(WeightStream, ATensorInsideAnotherChangesNothing) {
  EXPECT_EQ(page_ranges({{0, 20000}, {4096, 5000}}, 4096), (Ranges{{0, 20480}}));
}

}  // namespace
}  // namespace pocketlora
