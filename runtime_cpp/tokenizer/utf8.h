#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace pocketlora::tokenizer {

/// Bytes of the character that begins with `lead`, in valid UTF-8.
inline size_t character_size(uint8_t lead) { return lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4; }

/// The character at `at`, in valid UTF-8.
inline uint32_t character_at(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) { return static_cast<uint32_t>(static_cast<uint8_t>(text[at + i])); };
  const uint32_t lead = byte(0);
  if (lead < 0x80) return lead;
  if (lead < 0xE0) return (lead & 0x1F) << 6 | (byte(1) & 0x3F);
  if (lead < 0xF0) return (lead & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F);
  return (lead & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F);
}

void append_character(uint32_t character, std::string* text);

/// What stands at the front of `text`: a character, a broken one, or the beginning of one that the text ends in.
struct Utf8Front {
  size_t size;
  enum { kWhole, kBroken, kIncomplete } state;
};
Utf8Front utf8_front(std::string_view text);

bool is_utf8(std::string_view text);
/// Appends `text`, each maximal broken part replaced by U+FFFD: Python's errors="replace", Rust's from_utf8_lossy.
/// @param keep_incomplete leave out a character that the end of the text cuts off. @return bytes consumed.
size_t append_lossy(std::string_view text, bool keep_incomplete, std::string* to);

}  // namespace pocketlora::tokenizer
