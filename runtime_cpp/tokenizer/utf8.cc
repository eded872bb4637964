#include "utf8.h"

#include <cstring>

namespace pocketlora::tokenizer {
namespace {

constexpr const char kReplacement[] = "\xEF\xBF\xBD";

// Bytes from the front on that are ASCII.
size_t ascii_prefix(std::string_view text) {
  size_t at = 0;
  for (; at + sizeof(uint64_t) <= text.size(); at += sizeof(uint64_t)) {
    uint64_t word = 0;
    std::memcpy(&word, text.data() + at, sizeof(word));
    if ((word & 0x8080808080808080U) != 0) break;
  }
  while (at < text.size() && static_cast<uint8_t>(text[at]) < 0x80) ++at;
  return at;
}

}  // namespace

void append_character(uint32_t character, std::string* text) {
  const auto put = [&](uint32_t byte) { text->push_back(static_cast<char>(byte)); };
  if (character < 0x80) {
    put(character);
  } else if (character < 0x800) {
    put(0xC0 | character >> 6);
    put(0x80 | (character & 0x3F));
  } else if (character < 0x10000) {
    put(0xE0 | character >> 12);
    put(0x80 | (character >> 6 & 0x3F));
    put(0x80 | (character & 0x3F));
  } else {
    put(0xF0 | character >> 18);
    put(0x80 | (character >> 12 & 0x3F));
    put(0x80 | (character >> 6 & 0x3F));
    put(0x80 | (character & 0x3F));
  }
}

Utf8Front utf8_front(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t lead = byte(0);
  if (lead < 0x80) return {1, Utf8Front::kWhole};
  if (lead < 0xC2 || lead > 0xF4) return {1, Utf8Front::kBroken};
  const size_t size = character_size(lead);
  // The second byte's range keeps out overlong forms, surrogates and what lies beyond U+10FFFF.
  uint8_t low = 0x80;
  uint8_t high = 0xBF;
  if (lead == 0xE0) low = 0xA0;
  if (lead == 0xED) high = 0x9F;
  if (lead == 0xF0) low = 0x90;
  if (lead == 0xF4) high = 0x8F;
  for (size_t i = 1; i < size; ++i) {
    if (i >= text.size()) return {i, Utf8Front::kIncomplete};
    if (byte(i) < low || byte(i) > high) return {i, Utf8Front::kBroken};
    low = 0x80;
    high = 0xBF;
  }
  return {size, Utf8Front::kWhole};
}

bool is_utf8(std::string_view text) {
  for (;;) {
    text.remove_prefix(ascii_prefix(text));
    if (text.empty()) return true;
    const Utf8Front front = utf8_front(text);
    if (front.state != Utf8Front::kWhole) return false;
    text.remove_prefix(front.size);
  }
}

size_t append_lossy(std::string_view text, bool keep_incomplete, std::string* to) {
  size_t at = 0;
  while (at < text.size()) {
    const Utf8Front front = utf8_front(text.substr(at));
    if (front.state == Utf8Front::kIncomplete && keep_incomplete) break;
    if (front.state == Utf8Front::kWhole) {
      to->append(text.substr(at, front.size));
    } else {
      to->append(kReplacement);
    }
    at += front.size;
  }
  return at;
}

}  // namespace pocketlora::tokenizer
