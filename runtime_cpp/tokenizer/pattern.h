#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "tokenizer_file.h"

namespace pocketlora::tokenizer {

/// The kinds of a text's characters, byte by byte; bytes that continue a character have this one.
inline constexpr uint8_t kContinuation = 0xFF;
void append_kinds(const TokenizerData& data, std::string_view text, std::vector<uint8_t>* kinds);

/// Finds a pattern as a backtracking matcher does: the leftmost match, alternatives in order, repetitions greedy.
class Matcher {
 public:
  static constexpr size_t kNoMatch = static_cast<size_t>(-1);

  explicit Matcher(const TokenizerData& data) : code_(data.instructions) {}

  /// @param kinds of the text. @return where the match of `program` that begins at `at` ends, or kNoMatch.
  size_t match(uint32_t program, const uint8_t* kinds, size_t at, size_t end);

 private:
  // A place to go on from. A repetition can be cut down to `low`, one character at a time.
  struct Frame {
    uint32_t instruction;
    size_t at, low;
  };

  size_t run(uint32_t instruction, size_t at);
  bool step_back(size_t base, uint32_t* instruction, size_t* at);
  bool repeat(const Instruction& in, uint32_t next, size_t* at);

  bool in_set(uint64_t set, size_t at) const { return (set >> kinds_[at] & 1) != 0; }
  size_t after(size_t at) const {
    do ++at;
    while (at < end_ && kinds_[at] == kContinuation);
    return at;
  }
  size_t before(size_t at) const {
    do --at;
    while (kinds_[at] == kContinuation);
    return at;
  }

  const Array<Instruction>& code_;
  const uint8_t* kinds_ = nullptr;
  size_t end_ = 0;
  std::vector<Frame> frames_;
};

}  // namespace pocketlora::tokenizer
