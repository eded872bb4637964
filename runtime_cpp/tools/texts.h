#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "handles.h"
#include "pocketlora/pocketlora_tokenizer.h"

namespace pocketlora_run {

/// A bundle's compact tokenizer.
class Texts {
 public:
  /// @return null when the bundle has none. Throws what is wrong with it.
  static std::unique_ptr<Texts> open_if_any(const std::string& bundle);
  /// Throws INPUT_UNSUPPORTED when the bundle has none.
  static std::unique_ptr<Texts> open(const std::string& bundle);

  std::vector<int64_t> encode(const std::string& text, bool add_special_tokens) const;
  /// A prompt to continue: the tokenizer's own special tokens, but no end of text behind it.
  std::vector<int64_t> encode_prompt(const std::string& text, const std::vector<int64_t>& end_tokens) const;

  /// The text of ids as they arrive, special tokens left out.
  class Stream {
   public:
    /// @param before ids that the text continues; they are not part of it.
    Stream(const Texts& texts, const std::vector<int64_t>& before);
    std::string push(int64_t id);
    std::string flush();

   private:
    Handle<pl_text_stream, pl_text_stream_free> stream_;
  };

 private:
  explicit Texts(pl_tokenizer* tokenizer) : tokenizer_(tokenizer) {}
  Handle<pl_tokenizer, pl_tokenizer_close> tokenizer_;
};

}  // namespace pocketlora_run
