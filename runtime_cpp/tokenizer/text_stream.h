#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "tokenizer_file.h"

namespace pocketlora::tokenizer {

/// Ids to text while they arrive. What the calls append, one after the other, is the text of all ids, and each ends
/// where a character ends.
class TextStream {
 public:
  TextStream(const TokenizerData& data, bool skip_special_tokens) : data_(data), skips_(skip_special_tokens) {}

  /// Appends what `id` makes certain. An id without a token has no text.
  void push(uint32_t id, std::string* text);
  /// Appends what was held back, broken bytes as U+FFFD; the next id begins a new text.
  void flush(std::string* text);

 private:
  void push_text(std::string_view token, std::string* text);
  std::string spaced(std::string_view token) const;
  void flush_bytes(std::string* text);
  void strip(size_t from, std::string* text);

  const TokenizerData& data_;
  const bool skips_;
  bool has_begun_ = false;
  uint32_t stripped_ = 0;
  std::string held_;  ///< bytes that may yet become characters
};

}  // namespace pocketlora::tokenizer
