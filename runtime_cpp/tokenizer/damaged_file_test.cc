#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <iterator>
#include <random>
#include <vector>

#include "added_tokens.h"
#include "bpe.h"
#include "normalizer.h"
#include "pre_tokenizer.h"
#include "test_file.h"
#include "text_stream.h"

namespace pocketlora::tokenizer {
namespace {

using Bytes = std::vector<uint64_t>;  // aligned as a mapping is

Bytes read(const char* name) {
  std::ifstream file(test_path(std::string(name) + ".plt"), std::ios::binary);
  const std::string content((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  Bytes bytes(content.size() / sizeof(uint64_t));
  std::memcpy(bytes.data(), content.data(), bytes.size() * sizeof(uint64_t));
  return bytes;
}

Outcome parse(const Bytes& bytes, TokenizerData* data) {
  return read_tokenizer_data(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size() * sizeof(uint64_t), "file",
                             data);
}

// What a file with a wilfully wrong content has: sums that fit.
void seal(Bytes* bytes) {
  uint64_t sum = 0;
  uint64_t weighted = 0;
  for (size_t i = offsetof(Header, version) / sizeof(uint64_t); i < bytes->size(); ++i) {
    sum += (*bytes)[i];
    weighted += sum;
  }
  (*bytes)[1] = sum;
  (*bytes)[2] = weighted;
}

void use(const TokenizerData& data) {
  std::vector<int64_t> ids;
  const std::string text = "the <mask> über 日本 12345 it's aaaa \r\n x<eos>";
  const AddedTokens raw(data, data.raw_trie);
  PreTokenizer words(data);
  Bpe bpe(data);
  for (const AddedTokens::Part& part : raw.split(text)) {
    const std::string normal = normalize(data, std::string_view(text).substr(part.begin, part.end - part.begin));
    for (const PreTokenizer::Range& word : words.split(normal, true)) {
      bpe.encode(words.text().substr(word.begin, word.end - word.begin), &ids);
    }
  }
  std::string decoded;
  TextStream stream(data, false);
  for (uint32_t id = 0; id < data.settings.num_tokens && id < 2000; ++id) stream.push(id, &decoded);
  stream.flush(&decoded);
}

class DamagedFile : public testing::TestWithParam<const char*> {};

TEST_P(DamagedFile, EveryChangedBitIsNoticed) {
  const Bytes whole = read(GetParam());
  TokenizerData data;
  ASSERT_TRUE(parse(whole, &data).ok());
  std::mt19937_64 random(1);
  for (int i = 0; i < 400; ++i) {
    Bytes bytes = whole;
    bytes[random() % bytes.size()] ^= uint64_t{1} << random() % 64;
    TokenizerData ignored;
    const Outcome outcome = parse(bytes, &ignored);
    EXPECT_FALSE(outcome.ok());
    EXPECT_EQ(outcome.message.rfind("file: ", 0), 0U) << outcome.message;
  }
}

TEST_P(DamagedFile, CutOffOrExchanged) {
  const Bytes whole = read(GetParam());
  TokenizerData data;
  for (size_t size = 0; size < whole.size(); size += whole.size() / 97 + 1) {
    EXPECT_EQ(parse(Bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size)), &data).code,
              PL_BUNDLE_CORRUPT);
  }
  Bytes bytes = whole;
  size_t other = bytes.size() - 1;
  while (bytes[other] == bytes[other / 2]) --other;
  std::swap(bytes[other], bytes[other / 2]);
  EXPECT_EQ(parse(bytes, &data).code, PL_BUNDLE_CORRUPT);
}

TEST_P(DamagedFile, AnotherVersionIsNamed) {
  Bytes bytes = read(GetParam());
  reinterpret_cast<Header*>(bytes.data())->version = 7;
  TokenizerData data;
  const Outcome outcome = parse(bytes, &data);
  EXPECT_EQ(outcome.code, PL_BUNDLE_VERSION);
  EXPECT_EQ(outcome.message, "file: format version 7, expected 1");
}

// With sums that fit, a wrong number is found by the checks or does no harm. Under the sanitizers this shows more.
TEST_P(DamagedFile, WrongNumbersDoNoHarm) {
  const Bytes whole = read(GetParam());
  std::mt19937_64 random(2);
  int refused = 0;
  for (int i = 0; i < 600; ++i) {
    Bytes bytes = whole;
    for (int n = 0; n < 3; ++n) {
      // Half of them in the first kB: the table of sections.
      const size_t at = 3 + random() % (n == 0 ? 100 : bytes.size() - 3);
      auto* const halves = reinterpret_cast<uint32_t*>(&bytes[at]);
      halves[random() % 2] =
          random() % 2 == 0 ? static_cast<uint32_t>(random()) : static_cast<uint32_t>(random() % 300);
    }
    seal(&bytes);
    TokenizerData data;
    if (parse(bytes, &data).ok()) {
      use(data);
    } else {
      ++refused;
    }
  }
  EXPECT_GT(refused, 300);
  EXPECT_LT(refused, 600);
}

INSTANTIATE_TEST_SUITE_P(Files, DamagedFile, testing::Values("byte_level", "sentencepiece"));

}  // namespace
}  // namespace pocketlora::tokenizer
