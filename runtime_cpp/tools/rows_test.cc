#include "rows.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>

#include "tool_error.h"

namespace pocketlora_run {
namespace {

class RowFile : public ::testing::Test {
 protected:
  void TearDown() override { std::remove(path_.c_str()); }

  std::vector<Row> read(const std::string& text) {
    std::ofstream(path_, std::ios::binary) << text;
    return read_rows(path_, {100, 5, 2, preferences_});
  }
  // "<status>: <message>" of the failure, "" when there was none.
  std::string failure(const std::string& text) {
    try {
      read(text);
    } catch (const ToolError& error) {
      return std::to_string(error.code()) + ": " + error.what();
    }
    return "";
  }
  bool preferences_ = false;
  std::string at(int line) const { return path_ + ":" + std::to_string(line) + ": "; }

  std::string path_ = ::testing::TempDir() + "rows_test_" +
                      std::to_string(::testing::UnitTest::GetInstance()->random_seed()) +
                      ::testing::UnitTest::GetInstance()->current_test_info()->name() + ".jsonl";
};

TEST_F(RowFile, ReadsTokensAndLabels) {
  const std::vector<Row> rows =
      read("{\"token_ids\": [1, 2, 3]}\r\n\n  \n{\"token_ids\": [4, 5], \"labels\": [-100, 5]}");
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_EQ(rows[0].labels, (std::vector<int64_t>{1, 2, 3}));
  EXPECT_EQ(rows[1].tokens, (std::vector<int64_t>{4, 5}));
  EXPECT_EQ(rows[1].labels, (std::vector<int64_t>{-100, 5}));
}

TEST_F(RowFile, ReadsPackedRows) {
  const std::vector<Row> rows = read("{\"token_ids\": [1, 2, 3, 4, 5], \"lengths\": [2, 3]}\n{\"token_ids\": [1, 2]}");
  EXPECT_EQ(rows[0].lengths, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(rows[0].num_segments(), 2U);
  EXPECT_EQ(rows[1].num_segments(), 1U);
}

TEST_F(RowFile, ReadsPairs) {
  preferences_ = true;
  const std::vector<Row> rows = read(
      "{\"chosen\": {\"token_ids\": [1, 2, 3, 4, 5], \"labels\": [-100, 2, 3, 4, 5]}, "
      "\"rejected\": {\"token_ids\": [1, 6]}}");
  ASSERT_EQ(rows.size(), 1U);
  EXPECT_EQ(rows[0].tokens, (std::vector<int64_t>{1, 2, 3, 4, 5, 1, 6}));
  EXPECT_EQ(rows[0].labels, (std::vector<int64_t>{-100, 2, 3, 4, 5, 1, 6}));
  EXPECT_EQ(rows[0].lengths, (std::vector<int64_t>{5, 2}));
}

TEST_F(RowFile, NamesWhatIsWrongWithAPair) {
  const std::string good = "{\"token_ids\": [1, 2]}";
  const std::string pair = "{\"chosen\": " + good + ", \"rejected\": ";
  const auto names = [this](const std::string& row, const std::string& words) {
    const std::string found = failure(row);
    return found.find(at(1)) != std::string::npos && found.find(words) != std::string::npos
               ? ::testing::AssertionSuccess()
               : ::testing::AssertionFailure() << "'" << found << "' lacks '" << words << "'";
  };
  EXPECT_TRUE(names(pair + good + "}", "only train --loss dpo takes it"));
  preferences_ = true;
  EXPECT_TRUE(names(good, "expected a row of a preference, with 'chosen' and 'rejected'"));
  EXPECT_TRUE(names("{\"chosen\": " + good + "}", "'rejected' is missing"));
  EXPECT_TRUE(names(pair + "\"text\"}", "rejected: expected an object with 'token_ids', found string"));
  EXPECT_TRUE(names(pair + "{\"labels\": [1]}}", "rejected: 'token_ids' is missing"));
  EXPECT_TRUE(names(pair + good + ", \"prompt\": \"x\"}", "unknown key 'prompt'"));
  EXPECT_TRUE(
      names(pair + "{\"token_ids\": [1, 2], \"lengths\": [2]}}", "rejected: expected one row, found 'lengths'"));
  EXPECT_TRUE(names(pair + "{\"token_ids\": [1, 100]}}", "rejected: token_ids[1]: expected 0 to 99, found 100"));
  EXPECT_TRUE(names(pair + "{\"token_ids\": [1, 2], \"labels\": [1, -100]}}", "rejected: no token to learn from"));
  EXPECT_TRUE(names(pair + "{\"token_ids\": [1, 2, 3, 4, 5, 6]}}", "rejected: the row has 6 tokens"));
}

TEST_F(RowFile, NamesWhatIsWrongWithAPackedRow) {
  const std::string four = "{\"token_ids\": [1, 2, 3, 4], \"lengths\": ";
  EXPECT_NE(failure(four + "[2, 3]}").find("'lengths' to add up to the 4 token_ids, found 5"), std::string::npos);
  EXPECT_NE(failure(four + "[3, 1]}").find("lengths[1]: expected 2 to 4 tokens, found 1"), std::string::npos);
  EXPECT_NE(failure(four + "[]}").find("'lengths' to add up to the 4 token_ids, found 0"), std::string::npos);
  EXPECT_NE(failure(four + "[9223372036854775807]}").find("lengths[0]: expected 2 to 4"), std::string::npos);
  EXPECT_NE(failure("{\"token_ids\": [1, 2, 3, 4], \"labels\": [1, -100, 3, -100], \"lengths\": [2, 2]}")
                .find("no token to learn from"),
            std::string::npos);
  std::ofstream(path_, std::ios::binary) << four << "[2, 2]}";
  EXPECT_THROW(read_rows(path_, {100, 5, 1}), ToolError);
}

TEST_F(RowFile, NamesFileAndLine) {
  EXPECT_EQ(failure("{\"token_ids\": [1, 2]}\n{\"token_ids\": [1]}"),
            "201: " + at(2) + "expected at least 2 tokens, found 1");
  EXPECT_NE(failure("{\"token_ids\": [1, 2}").find("201: " + at(1) + "not JSON: "), std::string::npos);
  EXPECT_NE(failure("[1, 2]").find("expected a JSON object, found array"), std::string::npos);
  EXPECT_NE(failure("{\"labels\": [1, 2]}").find("'token_ids' is missing"), std::string::npos);
  EXPECT_NE(failure("{\"text\": \"hello\"}").find("unknown key 'text'"), std::string::npos);
  EXPECT_NE(failure("{\"token_ids\": [1, 2.5]}").find("token_ids[1]: expected an integer, found 2.5"),
            std::string::npos);
  EXPECT_NE(failure("{\"token_ids\": [1, 100]}").find("token_ids[1]: expected 0 to 99, found 100"), std::string::npos);
  EXPECT_NE(failure("{\"token_ids\": [-1, 1]}").find("found -1"), std::string::npos);
  EXPECT_NE(failure("{\"token_ids\": [1, 18446744073709551615]}").find("expected an integer"), std::string::npos);
  EXPECT_NE(failure("{\"token_ids\": [1, 2], \"labels\": [1]}").find("as many labels as token_ids (2), found 1"),
            std::string::npos);
  EXPECT_NE(
      failure("{\"token_ids\": [1, 2], \"labels\": [1, 3]}").find("labels[1]: expected the token (2) or -100, found 3"),
      std::string::npos);
  EXPECT_NE(failure("{\"token_ids\": [1, 2], \"labels\": [1, -100]}").find("no token to learn from"),
            std::string::npos);
}

TEST_F(RowFile, LongRowsHaveTheirOwnStatus) {
  EXPECT_EQ(failure("{\"token_ids\": [1, 2, 3, 4, 5, 6]}"),
            "101: " + at(1) + "the row has 6 tokens, the bundle was exported for at most 5");
}

TEST_F(RowFile, ListsAllBadRows) {
  const std::string message = failure("{}\n{\"token_ids\": [1, 2]}\n3\n");
  EXPECT_NE(message.find("201: 2 rows cannot be used:"), std::string::npos) << message;
  EXPECT_NE(message.find(at(1)), std::string::npos);
  EXPECT_NE(message.find(at(3)), std::string::npos);
  std::string many;
  for (int i = 0; i < 30; ++i) many += "{}\n";
  EXPECT_NE(failure(many).find("... and 10 more"), std::string::npos);
}

TEST_F(RowFile, RefusesNothing) {
  EXPECT_NE(failure("").find("201: " + path_ + ": no rows"), std::string::npos);
  EXPECT_NE(failure("\n \n").find("no rows"), std::string::npos);
  EXPECT_THROW(read_rows(path_ + ".absent", {100, 5, 2}), ToolError);
  EXPECT_THROW(read_rows(::testing::TempDir(), {100, 5, 2}), ToolError);
}

}  // namespace
}  // namespace pocketlora_run
