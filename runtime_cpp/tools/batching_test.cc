#include "batching.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace pocketlora_run {
namespace {

using Order = std::vector<size_t>;

// The goldens of docs/text-rows.md.
TEST(EpochOrder, EqualsTheDocumentedGoldens) {
  EXPECT_EQ(epoch_order(8, 42, 0), (Order{3, 1, 6, 2, 4, 0, 7, 5}));
  EXPECT_EQ(epoch_order(8, 42, 1), (Order{4, 7, 2, 6, 1, 3, 5, 0}));
  EXPECT_EQ(epoch_order(5, UINT64_MAX, 0), (Order{2, 0, 3, 4, 1}));
  EXPECT_EQ(epoch_order(5, UINT64_MAX, 1), (Order{2, 3, 1, 4, 0}));
  EXPECT_EQ(epoch_order(1, 0, 0), Order{0});
}

TEST(RowOrder, WalksEpochsWithoutAGap) {
  RowOrder order(8, 42);
  Order walked;
  for (int i = 0; i < 16; ++i) walked.push_back(order.next());
  Order expected = epoch_order(8, 42, 0);
  const Order second = epoch_order(8, 42, 1);
  expected.insert(expected.end(), second.begin(), second.end());
  EXPECT_EQ(walked, expected);
}

Row row_of(size_t length, int64_t first) {
  Row row;
  for (size_t i = 0; i < length; ++i) row.tokens.push_back(first + static_cast<int64_t>(i));
  row.labels = row.tokens;
  row.labels[0] = kIgnored;
  return row;
}

TEST(Pack, BeginsABatchWhereTheNextRowDoesNotFit) {
  const Row three = row_of(3, 10), four = row_of(4, 20), two = row_of(2, 30);
  const std::vector<MicroBatch> batches = pack({&three, &four, &two, &two}, {7, 8});
  ASSERT_EQ(batches.size(), 2U);
  EXPECT_EQ(batches[0].segments, (std::vector<int64_t>{0, 3, 7}));
  EXPECT_EQ(batches[0].tokens, (std::vector<int64_t>{10, 11, 12, 20, 21, 22, 23}));
  EXPECT_EQ(batches[0].labels, (std::vector<int64_t>{-100, 11, 12, -100, 21, 22, 23}));
  EXPECT_EQ(batches[1].segments, (std::vector<int64_t>{0, 2, 4}));
}

TEST(Pack, KeepsTheRowsOfAPackedRow) {
  Row packed = row_of(6, 10);
  packed.lengths = {2, 4};
  const Row two = row_of(2, 30);
  const std::vector<MicroBatch> batches = pack({&two, &packed, &packed}, {100, 4});
  ASSERT_EQ(batches.size(), 2U);
  EXPECT_EQ(batches[0].segments, (std::vector<int64_t>{0, 2, 4, 8}));
  EXPECT_EQ(batches[1].segments, (std::vector<int64_t>{0, 2, 6}));
}

TEST(Pack, RespectsTheNumberOfSegments) {
  const Row two = row_of(2, 1);
  EXPECT_EQ(pack({&two, &two, &two}, {100, 2}).size(), 2U);
  EXPECT_TRUE(pack({}, {100, 2}).empty());
}

TEST(Pack, ViewShowsTheArrays) {
  const Row three = row_of(3, 10);
  const std::vector<MicroBatch> batches = pack({&three}, {7, 8});
  const pl_batch view = batches[0].view();
  EXPECT_EQ(view.struct_size, sizeof(pl_batch));
  EXPECT_EQ(view.num_tokens, 3U);
  EXPECT_EQ(view.num_segments, 1U);
  EXPECT_EQ(view.tokens[2], 12);
  EXPECT_EQ(view.segments[1], 3);
}

}  // namespace
}  // namespace pocketlora_run
