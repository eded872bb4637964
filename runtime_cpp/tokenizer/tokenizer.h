#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "added_tokens.h"
#include "tokenizer_file.h"

namespace pocketlora::tokenizer {

/// A tokenizer file, mapped and used in place. Immutable: threads may share it.
class Tokenizer {
 public:
  /// @return BUNDLE_MISSING_FILE, IO_READ, BUNDLE_CORRUPT or BUNDLE_VERSION. `out` is only written on success.
  static Outcome open(const std::string& path, std::unique_ptr<Tokenizer>* out);
  ~Tokenizer();
  Tokenizer(const Tokenizer&) = delete;
  Tokenizer& operator=(const Tokenizer&) = delete;

  /// Appends the ids of a text; malformed UTF-8 is read as append_lossy() writes it.
  void encode(std::string_view text, bool add_special_tokens, std::vector<int64_t>* ids) const;

  const TokenizerData& data() const { return data_; }
  size_t file_bytes() const { return size_; }

 private:
  Tokenizer(const uint8_t* bytes, size_t size, const TokenizerData& data);
  void encode_text(std::string_view text, std::vector<int64_t>* ids) const;

  const uint8_t* bytes_;
  size_t size_;
  TokenizerData data_;
  AddedTokens raw_, normalized_;
};

}  // namespace pocketlora::tokenizer
