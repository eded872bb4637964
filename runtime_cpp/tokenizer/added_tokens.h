#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

#include "tokenizer_file.h"

namespace pocketlora::tokenizer {

/// Finds added tokens in a text: at each place the longest one, from left to right.
class AddedTokens {
 public:
  AddedTokens(const TokenizerData& data, const Array<TrieNode>& trie);

  /// A part of a text: an added token, or text in between (id = kNone).
  struct Part {
    uint32_t id;
    size_t begin, end;
  };
  /// The parts of `text` in order; empty ones are left out.
  std::vector<Part> split(std::string_view text) const;

 private:
  struct Match {
    size_t end;
    uint32_t added;  ///< kNone: there is none
  };
  Match longest_match(std::string_view text, size_t at) const;
  bool touches_word(std::string_view text, size_t begin, size_t end) const;

  const TokenizerData& data_;
  const Array<TrieNode>& trie_;
  uint32_t root_[256];  ///< the node behind each first byte, kNone where there is none
};

}  // namespace pocketlora::tokenizer
