#include "pattern.h"

#include <gtest/gtest.h>

#include <vector>

namespace pocketlora::tokenizer {
namespace {

constexpr uint32_t kMany = 0xFFFFFFFF;
constexpr uint64_t kA = 1, kB = 2, kAny = 3;

Instruction op(Op op, uint32_t target, uint32_t min, uint32_t max, uint64_t set) {
  return {static_cast<uint32_t>(op), target, min, max, set};
}
Instruction chars(uint64_t set, uint32_t min, uint32_t max) { return op(Op::kChars, 0, min, max, set); }
Instruction accept() { return op(Op::kAccept, 0, 0, 0, 0); }

// Kinds 0 and 1 are written a and b; ~ continues a character.
size_t match(const std::vector<Instruction>& code, const std::string& text, size_t at = 0) {
  TokenizerData data;
  data.instructions = {code.data(), code.size()};
  std::vector<uint8_t> kinds;
  for (const char c : text) kinds.push_back(c == '~' ? kContinuation : static_cast<uint8_t>(c - 'a'));
  return Matcher(data).match(0, kinds.data(), at, kinds.size());
}

TEST(Pattern, RepetitionsAreGreedyAndGiveBack) {
  EXPECT_EQ(match({chars(kA, 1, kMany), accept()}, "aaab"), 3U);
  EXPECT_EQ(match({chars(kA, 1, 2), accept()}, "aaab"), 2U);
  EXPECT_EQ(match({chars(kAny, 0, kMany), chars(kB, 1, 1), accept()}, "abab"), 4U);
  EXPECT_EQ(match({chars(kAny, 0, kMany), chars(kB, 1, 1), accept()}, "abaa"), 2U);
  EXPECT_EQ(match({chars(kAny, 2, kMany), chars(kB, 1, 1), accept()}, "abaa"), Matcher::kNoMatch);
}

TEST(Pattern, PossessiveRepetitionsGiveNothingBack) {
  EXPECT_EQ(match({op(Op::kCharsPossessive, 0, 0, kMany, kAny), chars(kB, 1, 1), accept()}, "abab"), Matcher::kNoMatch);
}

TEST(Pattern, GivesBackWholeCharacters) {
  EXPECT_EQ(match({chars(kAny, 0, kMany), chars(kB, 1, 1), accept()}, "a~~b~a~~"), 5U);
}

TEST(Pattern, TheFirstBranchThatFitsWins) {
  // a|ab, ab|a
  EXPECT_EQ(match({op(Op::kSplit, 3, 0, 1, kA), chars(kA, 1, 1), op(Op::kJump, 5, 0, 0, 0), chars(kA, 1, 1),
                   chars(kB, 1, 1), accept()},
                  "ab"),
            1U);
  EXPECT_EQ(match({op(Op::kSplit, 4, 0, 1, kA), chars(kA, 1, 1), chars(kB, 1, 1), op(Op::kJump, 5, 0, 0, 0),
                   chars(kA, 1, 1), accept()},
                  "aa"),
            1U);
}

TEST(Pattern, LookaheadSeesTheEnd) {
  // a+(?!b)
  const std::vector<Instruction> code = {chars(kA, 1, kMany), op(Op::kLookNot, 4, 0, 0, 0), chars(kB, 1, 1), accept(),
                                         accept()};
  EXPECT_EQ(match(code, "aaab"), 2U);
  EXPECT_EQ(match(code, "aaa"), 3U);
  EXPECT_EQ(match(code, "ab"), Matcher::kNoMatch);
}

}  // namespace
}  // namespace pocketlora::tokenizer
