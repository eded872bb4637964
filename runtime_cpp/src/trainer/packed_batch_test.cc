#include "trainer/packed_batch.h"

#include <gtest/gtest.h>

namespace pocketlora {
namespace {

struct Batch {
  std::vector<int64_t> tokens, labels, segments;
  BatchView view() const { return {tokens, labels, segments}; }
};

Manifest limits() {
  Manifest manifest;
  manifest.model.vocab_size = 100;
  manifest.limits.train_t_min = 2;
  manifest.limits.train_t_max = 8;
  manifest.limits.max_segments = 2;
  return manifest;
}

Status check(const Batch& batch) { return check_batch(batch.view(), limits(), "the batch"); }

const Batch kTwoRows = {{10, 11, 12, 20, 21}, {10, -100, 12, 20, 21}, {0, 3, 5}};

TEST(PackedBatch, ARowPredictsTheNextTokenOfItsSegment) {
  const PackedRows rows = pack_for_loss(kTwoRows.view(), 0.5F);
  EXPECT_EQ(rows.targets, (std::vector<int64_t>{-100, 12, -100, 21, -100}));
  EXPECT_EQ(rows.weights, (std::vector<float>{0.0F, 0.5F, 0.0F, 0.5F, 0.0F}));
  EXPECT_EQ(rows.positions, (std::vector<int64_t>{0, 1, 2, 0, 1}));
}

TEST(PackedBatch, CountsLabelsThatArePredicted) {
  // 12 and 21; the first token of each segment is predicted from nothing.
  EXPECT_EQ(count_labels(kTwoRows.view()), 2);
}

TEST(PackedBatch, EveryTokenButTheFirstGetsALogProbability) {
  const PackedRows rows = pack_for_logprobs(kTwoRows.view());
  EXPECT_EQ(rows.targets, (std::vector<int64_t>{11, 12, -100, 21, -100}));
  EXPECT_EQ(rows.weights, std::vector<float>(5, 0.0F));
}

TEST(PackedBatch, AcceptsAValidBatch) { EXPECT_TRUE(check(kTwoRows).ok()); }

TEST(PackedBatch, ListsAllProblems) {
  const Status status = check({{10, 100, 12}, {10, -7, 12}, {0, 2, 2}});
  EXPECT_EQ(status.code(), PL_INVALID_ARGUMENT);
  for (const char* text : {"tokens[1]: expected an id from 0 to 99, found 100", "labels[1]", "offsets from 0 to 3",
                           "offset 2 is 2 after 2"}) {
    EXPECT_NE(status.message().find(text), std::string::npos) << text << " in " << status.message();
  }
}

TEST(PackedBatch, ALabelIsItsTokenOrMasked) {
  const Status status = check({{10, 11, 12}, {-100, 11, 13}, {0, 3}});
  EXPECT_EQ(status.code(), PL_INVALID_ARGUMENT);
  EXPECT_NE(status.message().find("labels[2]: expected -100 or the token itself, 12, found 13"), std::string::npos)
      << status.message();
  EXPECT_EQ(check({{10, 11, 12}, {11, 12, -100}, {0, 3}}).code(), PL_INVALID_ARGUMENT);  // shifted by the caller
}

TEST(PackedBatch, RefusesTooFewTokensAndSegments) {
  EXPECT_EQ(check({{1}, {1}, {0, 1}}).code(), PL_INVALID_ARGUMENT);
  EXPECT_EQ(check({{1, 2}, {1, 2}, {0}}).code(), PL_INVALID_ARGUMENT);
}

TEST(PackedBatch, MayHaveMoreThanOnePassHolds) {
  const std::vector<int64_t> nine(9, 1);
  EXPECT_TRUE(check({nine, nine, {0, 9}}).ok());
  EXPECT_TRUE(check({{1, 2, 3}, {1, 2, 3}, {0, 1, 2, 3}}).ok());
}

}  // namespace
}  // namespace pocketlora
