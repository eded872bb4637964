#include "trainer/step_passes.h"

#include <numeric>

#include "common/test_support.h"

namespace pocketlora {
namespace {

struct Batch {
  std::vector<int64_t> tokens, labels, segments = {0};

  explicit Batch(const std::vector<int64_t>& lengths) {
    for (const int64_t length : lengths) segments.push_back(segments.back() + length);
    tokens.resize(static_cast<size_t>(segments.back()));
    std::iota(tokens.begin(), tokens.end(), 100);
    labels = tokens;
  }
  BatchView view() const { return {tokens, labels, segments}; }
};

Status refuse(const std::string& segment, int64_t rows) {
  return error(PL_OUT_OF_MEMORY, "%s: %lld rows", segment.c_str(), static_cast<long long>(rows));
}

std::vector<std::vector<int64_t>> offsets(const Batch& batch, const PassLimits& limits) {
  std::vector<std::vector<int64_t>> found;
  size_t next = 0;
  const Result<std::vector<StepPass>> passes = split_passes(batch.view(), limits, "micro-batch 0", refuse);
  EXPECT_TRUE(passes.ok()) << passes.status().message();
  for (const StepPass& pass : passes.value()) {
    found.push_back(pass.segments);
    EXPECT_EQ(static_cast<size_t>(pass.segments.back()), pass.tokens.size());
    for (size_t i = 0; i < pass.tokens.size(); ++i, ++next) {
      EXPECT_EQ(pass.tokens[i], batch.tokens[next]);
      EXPECT_EQ(pass.labels[i], batch.labels[next]);
    }
  }
  EXPECT_EQ(next, batch.tokens.size());
  return found;
}

using Offsets = std::vector<std::vector<int64_t>>;

TEST(StepPasses, WhatFitsIsOnePass) { EXPECT_EQ(offsets(Batch({3, 4}), {1, 7, 2}), (Offsets{{0, 3, 7}})); }

TEST(StepPasses, CutsBetweenSegments) {
  EXPECT_EQ(offsets(Batch({3, 4, 2, 6}), {1, 7, 9}), (Offsets{{0, 3, 7}, {0, 2}, {0, 6}}));
  EXPECT_EQ(offsets(Batch({7, 7, 1}), {1, 7, 9}), (Offsets{{0, 7}, {0, 7}, {0, 1}}));
}

TEST(StepPasses, CountsSegmentsToo) {
  EXPECT_EQ(offsets(Batch({1, 1, 1, 1, 1}), {1, 100, 2}), (Offsets{{0, 1, 2}, {0, 1, 2}, {0, 1}}));
}

TEST(StepPasses, ASegmentThatFitsNowhereIsNamed) {
  const Batch batch({3, 8, 2});
  EXPECT_TRUE(fails_with(split_passes(batch.view(), {1, 7, 9}, "micro-batch 4", refuse).status(), PL_OUT_OF_MEMORY,
                         {"micro-batch 4, segment 1: 8 rows"}));
  const Batch alone({9});
  EXPECT_TRUE(fails_with(split_passes(alone.view(), {1, 7, 9}, "micro-batch 0", refuse).status(), PL_OUT_OF_MEMORY,
                         {"micro-batch 0: 9 rows"}));
}

TEST(StepPasses, PairsStayTogetherWhereAPassHasRoomForThem) {
  const PassLimits pairs = {1, 9, 4, 2};
  EXPECT_EQ(offsets(Batch({3, 2, 2, 2}), pairs), (Offsets{{0, 3, 5, 7, 9}}));
  EXPECT_EQ(offsets(Batch({3, 2, 2, 3, 1, 1}), pairs), (Offsets{{0, 3, 5}, {0, 2, 5, 6, 7}}));
  EXPECT_EQ(offsets(Batch({1, 1, 1, 1, 1, 1}), pairs), (Offsets{{0, 1, 2, 3, 4}, {0, 1, 2}}));
  // 6 and 4 rows are too many for one pass.
  EXPECT_EQ(offsets(Batch({1, 1, 6, 4, 2, 2}), pairs), (Offsets{{0, 1, 2}, {0, 6}, {0, 4}, {0, 2, 4}}));
  EXPECT_EQ(offsets(Batch({6, 4}), pairs), (Offsets{{0, 6}, {0, 4}}));
  EXPECT_EQ(offsets(Batch({2, 2, 1, 1}), {1, 9, 1, 2}), (Offsets{{0, 2}, {0, 2}, {0, 1}, {0, 1}}));
}

TEST(StepPasses, APassTooSmallForTheBundleIsRefused) {
  const Batch batch({7, 1});
  EXPECT_TRUE(fails_with(split_passes(batch.view(), {2, 7, 9}, "micro-batch 0", refuse).status(), PL_INVALID_ARGUMENT,
                         {"1 rows", "at least 2"}));
}

}  // namespace
}  // namespace pocketlora
