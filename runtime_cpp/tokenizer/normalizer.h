#pragma once

#include <string>
#include <string_view>

#include "tokenizer_file.h"

namespace pocketlora::tokenizer {

/// `text` with every occurrence of `pattern` (not empty) replaced.
std::string replace_all(std::string_view text, std::string_view pattern, std::string_view content);

/// `text` (valid UTF-8) through the normalizer's steps.
std::string normalize(const TokenizerData& data, std::string_view text);

}  // namespace pocketlora::tokenizer
