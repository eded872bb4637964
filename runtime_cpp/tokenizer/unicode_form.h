#pragma once

#include <string>
#include <string_view>

#include "tokenizer_file.h"

namespace pocketlora::tokenizer {

/// NFD, NFC, NFKD or NFKC.
struct UnicodeForm {
  bool compatible;
  bool composed;
};

/// `text` (valid UTF-8) in a normalization form of UAX #15, by the tables of the file.
std::string to_unicode_form(const TokenizerData& data, UnicodeForm form, std::string_view text);

}  // namespace pocketlora::tokenizer
