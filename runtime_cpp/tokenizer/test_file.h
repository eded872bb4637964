#pragma once

#include <memory>
#include <string>

#include "tokenizer.h"

namespace pocketlora::tokenizer {

inline std::string test_path(const std::string& name) { return std::string(POCKETLORA_TOKENIZER_TESTDATA "/") + name; }

/// A file that tools/tokenizer_testdata.py made. @return null when it cannot be opened.
inline std::unique_ptr<Tokenizer> open_test_file(const std::string& name) {
  std::unique_ptr<Tokenizer> tokenizer;
  Tokenizer::open(test_path(name + ".plt"), &tokenizer);
  return tokenizer;
}

}  // namespace pocketlora::tokenizer
