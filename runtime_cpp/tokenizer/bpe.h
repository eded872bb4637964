#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "tokenizer_file.h"

namespace pocketlora::tokenizer {

/// Byte-pair encoding: of all neighbours that form a token, those of the lowest rank are merged first, the leftmost
/// before the others.
class Bpe {
 public:
  explicit Bpe(const TokenizerData& data) : data_(data) {}

  /// Appends the ids of a word (valid UTF-8, not empty). Time: n log n.
  void encode(std::string_view word, std::vector<int64_t>* ids);

 private:
  bool append_whole(std::string_view word, std::vector<int64_t>* ids) const;
  void encode_part(std::string_view word, std::vector<int64_t>* ids);
  void read_bytes(std::string_view word);
  void read_characters(std::string_view word);
  uint32_t character_id(uint32_t character) const;
  bool append_fallback(std::string_view character);
  uint32_t rank(uint32_t left, uint32_t right) const;
  void merge_short();
  void merge_long();

  const TokenizerData& data_;
  std::vector<uint32_t> symbols_;
  std::vector<uint32_t> ranks_;  ///< of each symbol with the next
  std::vector<uint32_t> before_, after_;
  std::vector<uint64_t> queue_;
};

}  // namespace pocketlora::tokenizer
