#include "text_stream.h"

#include "normalizer.h"
#include "utf8.h"

namespace pocketlora::tokenizer {
namespace {

constexpr int kNotAByte = -1;

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return kNotAByte;
}

// The byte that a token of the form <0x0A> stands for.
int byte_of(std::string_view token) {
  if (token.size() != 6 || token.substr(0, 3) != "<0x" || token[5] != '>') return kNotAByte;
  // Rust's parser of numbers takes a sign.
  if (token[3] == '+') return hex_digit(token[4]);
  const int high = hex_digit(token[3]);
  const int low = hex_digit(token[4]);
  return high == kNotAByte || low == kNotAByte ? kNotAByte : high * 16 + low;
}

}  // namespace

void TextStream::push(uint32_t id, std::string* text) {
  if (id >= data_.settings.num_tokens) return;
  const uint8_t flags = data_.token_flags[id];
  if ((flags & kDefined) == 0 || (skips_ && (flags & kSpecial) != 0)) return;
  if (!data_.has(kDecodeBytes)) {
    push_text(data_.token(id), text);
    return;
  }
  held_ += data_.token(id);
  held_.erase(0, append_lossy(held_, true, text));
}

void TextStream::flush(std::string* text) {
  if (data_.has(kDecodeBytes)) {
    append_lossy(held_, false, text);
  } else {
    flush_bytes(text);
  }
  held_.clear();
  has_begun_ = false;
  stripped_ = 0;
}

void TextStream::push_text(std::string_view token, std::string* text) {
  std::string content = spaced(token);
  for (const Step& step : data_.decoder) content = replace_all(content, data_.text0(step), data_.text1(step));
  has_begun_ = true;
  const int byte = data_.has(kDecodeByteFallback) ? byte_of(content) : kNotAByte;
  if (byte != kNotAByte) {
    // One wrong byte spoils all of a run of bytes, so none is certain before the run ends.
    held_.push_back(static_cast<char>(byte));
    return;
  }
  flush_bytes(text);
  const size_t from = text->size();
  *text += content;
  strip(from, text);
}

// The token with Metaspace's characters as spaces.
std::string TextStream::spaced(std::string_view token) const {
  if (data_.settings.decode_space == 0) return std::string(token);
  std::string space;
  append_character(data_.settings.decode_space, &space);
  return replace_all(token, space, data_.has(kDecodeDropFirst) && !has_begun_ ? "" : " ");
}

void TextStream::flush_bytes(std::string* text) {
  const size_t from = text->size();
  if (is_utf8(held_)) {
    *text += held_;
  } else {
    for (size_t i = 0; i < held_.size(); ++i) append_character(0xFFFD, text);
  }
  held_.clear();
  strip(from, text);
}

// Leaves out the characters at the front of the whole text that the decoder strips.
void TextStream::strip(size_t from, std::string* text) {
  const Settings& settings = data_.settings;
  size_t end = from;
  while (stripped_ < settings.strip_count && end < text->size()) {
    if (character_at(*text, end) != settings.strip_character) {
      stripped_ = settings.strip_count;
      break;
    }
    end += character_size(static_cast<uint8_t>((*text)[end]));
    ++stripped_;
  }
  text->erase(from, end - from);
}

}  // namespace pocketlora::tokenizer
