#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "pocketlora/pocketlora_tokenizer.h"
#include "test_file.h"

namespace {

using pocketlora::tokenizer::test_path;

struct Close {
  void operator()(pl_tokenizer* tokenizer) const { pl_tokenizer_close(tokenizer); }
  void operator()(pl_text_stream* stream) const { pl_text_stream_free(stream); }
};

class Capi : public testing::Test {
 protected:
  void SetUp() override {
    pl_tokenizer* opened = nullptr;
    ASSERT_EQ(pl_tokenizer_open(test_path("byte_level.plt").c_str(), &opened), PL_OK) << pl_tokenizer_last_error();
    tokenizer_.reset(opened);
  }

  std::unique_ptr<pl_tokenizer, Close> tokenizer_;
};

TEST_F(Capi, FilesThatCannotBeOpened) {
  pl_tokenizer* out = nullptr;
  EXPECT_EQ(pl_tokenizer_open("/nonexistent/tokenizer.plt", &out), PL_BUNDLE_MISSING_FILE);
  EXPECT_STREQ(pl_tokenizer_last_error(), "/nonexistent/tokenizer.plt: there is no such file");
  EXPECT_EQ(pl_tokenizer_open("/", &out), PL_IO_READ);
  EXPECT_EQ(pl_tokenizer_open(test_path("byte_level.txt").c_str(), &out), PL_BUNDLE_CORRUPT);
  EXPECT_EQ(pl_tokenizer_open(nullptr, &out), PL_INVALID_ARGUMENT);
  EXPECT_STREQ(pl_tokenizer_last_error(), "pl_tokenizer_open: path must not be null");
  EXPECT_EQ(out, nullptr);
}

TEST_F(Capi, WritesNoMoreThanFits) {
  int64_t ids[4] = {-1, -1, -1, -1};
  size_t count = 0;
  ASSERT_EQ(pl_tokenizer_encode(tokenizer_.get(), "x y z", 5, 0, ids, 2, &count), PL_OK);
  EXPECT_EQ(count, 5U);
  EXPECT_NE(ids[1], -1);
  EXPECT_EQ(ids[2], -1);
  ASSERT_EQ(pl_tokenizer_encode(tokenizer_.get(), nullptr, 0, 0, nullptr, 0, &count), PL_OK);
  EXPECT_EQ(count, 0U);
}

TEST_F(Capi, RefusesNullAndNegative) {
  size_t count = 7;
  EXPECT_EQ(pl_tokenizer_encode(tokenizer_.get(), nullptr, 1, 0, nullptr, 0, &count), PL_INVALID_ARGUMENT);
  EXPECT_EQ(pl_tokenizer_encode(tokenizer_.get(), "a", 1, 0, nullptr, 0, nullptr), PL_INVALID_ARGUMENT);
  const int64_t wrong[] = {1, -4};
  EXPECT_EQ(pl_tokenizer_decode(tokenizer_.get(), wrong, 2, 0, nullptr, 0, &count), PL_INVALID_ARGUMENT);
  EXPECT_STREQ(pl_tokenizer_last_error(), "pl_tokenizer_decode: expected token ids from 0, found -4");
  EXPECT_EQ(count, 7U);
  pl_tokenizer_info info = {};
  EXPECT_EQ(pl_tokenizer_get_info(tokenizer_.get(), &info), PL_INVALID_ARGUMENT);
}

TEST_F(Capi, Info) {
  pl_tokenizer_info info = {};
  info.struct_size = sizeof(info);
  ASSERT_EQ(pl_tokenizer_get_info(tokenizer_.get(), &info), PL_OK);
  EXPECT_GT(info.num_tokens, 256);
  EXPECT_GT(info.file_bytes, 10000);
}

TEST_F(Capi, StreamsHoldBackHalfACharacter) {
  const std::string text = "a\u20ACb";
  std::vector<int64_t> ids(16);
  size_t count = 0;
  ASSERT_EQ(pl_tokenizer_encode(tokenizer_.get(), text.data(), text.size(), 0, ids.data(), ids.size(), &count), PL_OK);
  ASSERT_EQ(count, 5U);
  pl_text_stream* created = nullptr;
  ASSERT_EQ(pl_text_stream_create(tokenizer_.get(), 1, &created), PL_OK);
  const std::unique_ptr<pl_text_stream, Close> stream(created);
  const char* const expected[] = {"a", "", "", "\u20AC", "b"};
  const char* piece = nullptr;
  size_t length = 0;
  for (size_t i = 0; i < count; ++i) {
    ASSERT_EQ(pl_text_stream_push(stream.get(), ids[i], &piece, &length), PL_OK);
    EXPECT_STREQ(piece, expected[i]);
  }
  ASSERT_EQ(pl_text_stream_push(stream.get(), ids[1], &piece, &length), PL_OK);
  ASSERT_EQ(pl_text_stream_flush(stream.get(), &piece, &length), PL_OK);
  EXPECT_EQ(std::string(piece, length), "\uFFFD");
  // Ids without a token have no text.
  ASSERT_EQ(pl_text_stream_push(stream.get(), int64_t{1} << 40, &piece, &length), PL_OK);
  EXPECT_EQ(length, 0U);
}

}  // namespace
