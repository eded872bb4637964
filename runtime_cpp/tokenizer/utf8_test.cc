#include "utf8.h"

#include <gtest/gtest.h>

namespace pocketlora::tokenizer {
namespace {

std::string lossy(std::string_view text) {
  std::string to;
  append_lossy(text, false, &to);
  return to;
}

TEST(Utf8, MaximalBrokenPartsBecomeOneReplacement) {
  EXPECT_EQ(lossy("a\xFFz"), "a\uFFFDz");
  EXPECT_EQ(lossy("\xE2\x82"), "\uFFFD");                  // the front of U+20AC
  EXPECT_EQ(lossy("\xE2\x82g"), "\uFFFDg");                // cut off by another character
  EXPECT_EQ(lossy("\xC0\x80"), "\uFFFD\uFFFD");            // overlong
  EXPECT_EQ(lossy("\xED\xA0\x80"), "\uFFFD\uFFFD\uFFFD");  // a surrogate
  EXPECT_EQ(lossy("\xF4\x90\x80\x80"), "\uFFFD\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(lossy("\xF0\x9F\x99\x82"), "\U0001F642");
}

TEST(Utf8, KeepsAnIncompleteCharacter) {
  std::string to;
  EXPECT_EQ(append_lossy("ab\xF0\x9F\x99", true, &to), 2U);
  EXPECT_EQ(to, "ab");
  EXPECT_EQ(append_lossy("\xF0\x80", true, &to), 2U) << "no character begins like this";
}

TEST(Utf8, EveryCharacterComesBack) {
  for (uint32_t c = 0; c < 0x110000; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    std::string text;
    append_character(c, &text);
    ASSERT_TRUE(is_utf8(text)) << c;
    ASSERT_EQ(character_at(text, 0), c);
    ASSERT_EQ(character_size(static_cast<uint8_t>(text[0])), text.size());
  }
}

}  // namespace
}  // namespace pocketlora::tokenizer
