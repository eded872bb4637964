#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "file_format.h"
#include "pocketlora/pocketlora.h"

namespace pocketlora::tokenizer {

/// The outcome of an operation: a code, and a message where it is not PL_OK.
struct Outcome {
  pl_status code = PL_OK;
  std::string message;

  bool ok() const { return code == PL_OK; }
};

/// Elements of a section, in the mapping.
template <typename T>
struct Array {
  const T* data = nullptr;
  size_t size = 0;

  const T& operator[](size_t i) const { return data[i]; }
  const T* begin() const { return data; }
  const T* end() const { return data + size; }
};

/// Everything that a tokenizer file says. Whatever indexes anything was checked when the file was opened.
struct TokenizerData {
  Settings settings = {};
  Array<uint32_t> token_offsets;
  Array<char> token_bytes;
  Array<uint8_t> token_flags;
  Array<uint32_t> words;
  Array<uint64_t> pairs;
  Array<uint32_t> results;
  Array<uint32_t> byte_ids;
  Array<CharacterSlot> characters;
  Array<uint16_t> kind_index;
  Array<uint8_t> kind_blocks;
  Array<Instruction> instructions;
  Array<Step> normalizer, pre_tokenizer, decoder;
  Array<char> texts;
  Array<Added> added;
  Array<TrieNode> raw_trie, normalized_trie;
  Array<uint32_t> templates;
  Array<uint16_t> norm_index, norm_blocks;
  Array<NormRecord> norm_records;
  Array<uint32_t> norm_characters;
  Array<CompositionSlot> compositions;

  bool has(SettingFlag flag) const { return (settings.flags & flag) != 0; }
  std::string_view token(uint32_t id) const {
    return {token_bytes.data + token_offsets[id], token_offsets[id + 1] - token_offsets[id]};
  }
  std::string_view text0(const Step& step) const { return {texts.data + step.text0, step.size0}; }
  std::string_view text1(const Step& step) const { return {texts.data + step.text1, step.size1}; }
  uint8_t kind_of(uint32_t character) const {
    const size_t block = kind_index[character >> kBlockBits];
    return kind_blocks[block << kBlockBits | (character & (kBlockSize - 1))];
  }
};

/// Finds the sections of a file and checks its sums and everything that indexes.
/// @param path only names the file in messages. @return BUNDLE_CORRUPT or BUNDLE_VERSION.
Outcome read_tokenizer_data(const uint8_t* bytes, size_t size, const std::string& path, TokenizerData* data);

/// @return the first contradiction in what was read, "" when there is none.
std::string find_contradiction(const TokenizerData& data);

}  // namespace pocketlora::tokenizer
