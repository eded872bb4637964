#include "tokenizer.h"

#include <gtest/gtest.h>

#include <chrono>
#include <fstream>
#include <sstream>

#include "bpe.h"
#include "test_file.h"
#include "text_stream.h"
#include "utf8.h"

namespace pocketlora::tokenizer {
namespace {

std::string from_hex(const std::string& hex) {
  std::string text;
  for (size_t i = 0; hex != "-" && i < hex.size(); i += 2) {
    text.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  }
  return text;
}

std::vector<int64_t> ids_of(const std::string& list) {
  std::vector<int64_t> ids;
  std::istringstream in(list);
  for (std::string id; std::getline(in, id, ',');) ids.push_back(std::stoll(id));
  return ids;
}

std::string decode(const Tokenizer& tokenizer, const std::vector<int64_t>& ids) {
  std::string text;
  TextStream stream(tokenizer.data(), true);
  for (const int64_t id : ids) {
    stream.push(static_cast<uint32_t>(id), &text);
    EXPECT_TRUE(is_utf8(text)) << "a character was cut";
  }
  stream.flush(&text);
  return text;
}

class Goldens : public testing::TestWithParam<const char*> {};

TEST_P(Goldens, IdsAndTextsAreHuggingFaces) {
  const std::unique_ptr<Tokenizer> tokenizer = open_test_file(GetParam());
  ASSERT_NE(tokenizer, nullptr);
  std::ifstream file(test_path(std::string(GetParam()) + ".txt"));
  size_t lines = 0;
  for (std::string text, ids, decoded; file >> text >> ids >> decoded; ++lines) {
    std::vector<int64_t> found;
    tokenizer->encode(from_hex(text), true, &found);
    EXPECT_EQ(found, ids_of(ids)) << from_hex(text);
    EXPECT_EQ(decode(*tokenizer, found), from_hex(decoded));
  }
  EXPECT_EQ(lines, 10U);
}

// One word far beyond any text: a quadratic merge would not end.
TEST_P(Goldens, ALongWordTakesNoLongerThanItsLength) {
  const std::unique_ptr<Tokenizer> tokenizer = open_test_file(GetParam());
  ASSERT_NE(tokenizer, nullptr);
  for (const size_t size : {100'000U, 1'000'000U}) {
    const auto start = std::chrono::steady_clock::now();
    std::vector<int64_t> ids;
    tokenizer->encode(std::string(size, 'a'), false, &ids);
    const std::chrono::duration<double, std::milli> spent = std::chrono::steady_clock::now() - start;
    EXPECT_LT(ids.size(), size / 3);
    RecordProperty("milliseconds_" + std::to_string(size), std::to_string(spent.count()));
    std::string mixed;
    for (size_t i = 0; i < size; ++i) mixed.push_back("theaubll"[i * 2654435761U >> 7 & 7]);
    tokenizer->encode(mixed, false, &ids);
  }
}

// The scan for short words and the heap for long ones merge alike.
TEST_P(Goldens, ShortAndLongWordsMergeAlike) {
  const std::unique_ptr<Tokenizer> tokenizer = open_test_file(GetParam());
  ASSERT_NE(tokenizer, nullptr);
  for (size_t size = 55; size < 75; ++size) {
    std::vector<int64_t> ids;
    tokenizer->encode(std::string(size, 'a'), false, &ids);
    const std::string text = decode(*tokenizer, ids);
    EXPECT_EQ(text, std::string(size, 'a'));
    EXPECT_LE(ids.size(), size / 4 + 5);
  }
}

INSTANTIATE_TEST_SUITE_P(Files, Goldens, testing::Values("byte_level", "sentencepiece"));

}  // namespace
}  // namespace pocketlora::tokenizer
