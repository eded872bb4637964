#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "pattern.h"
#include "tokenizer_file.h"

namespace pocketlora::tokenizer {

/// Cuts a text into the words that merges never reach across.
class PreTokenizer {
 public:
  explicit PreTokenizer(const TokenizerData& data) : data_(data), matcher_(data) {}

  struct Range {
    size_t begin, end;
  };

  /// @param text valid UTF-8. @param at_start whether the whole text begins here. The words lie in text().
  const std::vector<Range>& split(std::string_view text, bool at_start);
  std::string_view text() const { return text_; }

 private:
  struct Span {
    size_t begin, end;
    bool is_match;
  };

  void replace(const Step& step);
  void prepend(const Step& step, bool at_start);
  void split(const Step& step);
  void find_matches(const Step& step, Range piece);
  void add_spans(Behavior behavior);
  void add_words(Behavior behavior);
  void take_text();

  const TokenizerData& data_;
  Matcher matcher_;
  std::string_view text_;
  std::string owned_, next_;
  bool has_kinds_ = false;
  std::vector<uint8_t> kinds_;
  std::vector<Range> pieces_, next_pieces_;
  std::vector<Span> spans_;
};

}  // namespace pocketlora::tokenizer
