#include "unicode_form.h"

#include <algorithm>
#include <vector>

#include "utf8.h"

namespace pocketlora::tokenizer {
namespace {

// Hangul syllables are composed by arithmetic (The Unicode Standard, 3.12).
constexpr uint32_t kSyllables = 0xAC00, kLeads = 0x1100, kVowels = 0x1161, kTails = 0x11A7;
constexpr uint32_t kNumLeads = 19, kNumVowels = 21, kNumTails = 28, kNumSyllables = kNumLeads * kNumVowels * kNumTails;

struct Character {
  uint32_t code;
  uint8_t combining;
};

class FormWriter {
 public:
  FormWriter(const TokenizerData& data, UnicodeForm form) : data_(data), form_(form) {}

  /// Whether the run holds nothing that the form changes.
  bool is_inert(std::string_view run) const {
    if (!form_.composed) return false;
    const uint32_t flag = form_.compatible ? kNfkcInert : kNfcInert;
    for (size_t at = 0; at < run.size(); at += character_size(static_cast<uint8_t>(run[at]))) {
      if ((record(character_at(run, at)).flags & flag) == 0) return false;
    }
    return true;
  }

  void append(std::string_view run, std::string* to) {
    characters_.clear();
    for (size_t at = 0; at < run.size(); at += character_size(static_cast<uint8_t>(run[at]))) {
      decompose(character_at(run, at));
    }
    reorder();
    if (form_.composed) compose();
    for (const Character& c : characters_) append_character(c.code, to);
  }

 private:
  const NormRecord& record(uint32_t code) const {
    const size_t block = data_.norm_index[code >> kBlockBits];
    return data_.norm_records[data_.norm_blocks[block << kBlockBits | (code & (kBlockSize - 1))]];
  }

  uint8_t combining(uint32_t code) const { return static_cast<uint8_t>(record(code).flags & kCombiningMask); }

  // The tables hold full decompositions.
  void decompose(uint32_t code) {
    if (code - kSyllables < kNumSyllables) {
      const uint32_t index = code - kSyllables;
      characters_.push_back({kLeads + index / (kNumVowels * kNumTails), 0});
      characters_.push_back({kVowels + index / kNumTails % kNumVowels, 0});
      if (index % kNumTails != 0) characters_.push_back({kTails + index % kNumTails, 0});
      return;
    }
    const NormRecord& found = record(code);
    const uint32_t offset = form_.compatible ? found.compatible : found.canonical;
    const uint32_t size = form_.compatible ? found.compatible_size : found.canonical_size;
    if (size == 0) characters_.push_back({code, combining(code)});
    for (uint32_t i = 0; i < size; ++i) {
      const uint32_t part = data_.norm_characters[offset + i];
      characters_.push_back({part, combining(part)});
    }
  }

  void reorder() {
    for (auto it = characters_.begin(); it != characters_.end();) {
      const auto marks = [](const Character& c) { return c.combining != 0; };
      it = std::find_if(it, characters_.end(), marks);
      const auto end = std::find_if_not(it, characters_.end(), marks);
      std::stable_sort(it, end, [](const Character& a, const Character& b) { return a.combining < b.combining; });
      it = end;
    }
  }

  void compose() {
    size_t written = 0;
    size_t starter = static_cast<size_t>(-1);
    uint8_t last = 0;  // combining class of what was written behind the starter
    for (const Character c : characters_) {
      const bool adjacent = starter + 1 == written;
      if (starter != static_cast<size_t>(-1) && (adjacent || last < c.combining)) {
        const uint32_t composed = find_composition(characters_[starter].code, c.code);
        if (composed != kNone) {
          characters_[starter].code = composed;
          continue;
        }
      }
      if (c.combining == 0) starter = written;
      last = c.combining;
      characters_[written++] = c;
    }
    characters_.resize(written);
  }

  uint32_t find_composition(uint32_t first, uint32_t second) const {
    if (first - kLeads < kNumLeads && second - kVowels < kNumVowels) {
      return kSyllables + ((first - kLeads) * kNumVowels + (second - kVowels)) * kNumTails;
    }
    const bool is_open = first - kSyllables < kNumSyllables && (first - kSyllables) % kNumTails == 0;
    if (is_open && second - kTails - 1 < kNumTails - 1) return first + (second - kTails);
    const Array<CompositionSlot>& slots = data_.compositions;
    size_t at = slot_of(mix(uint64_t{first} << 32 | second), slots.size);
    for (size_t probes = 0; probes < slots.size; ++probes) {
      if (slots[at].first == kNone) break;
      if (slots[at].first == first && slots[at].second == second) return slots[at].composed;
      if (++at == slots.size) at = 0;
    }
    return kNone;
  }

  const TokenizerData& data_;
  UnicodeForm form_;
  std::vector<Character> characters_;
};

bool is_ascii(char byte) { return static_cast<uint8_t>(byte) < 0x80; }

}  // namespace

std::string to_unicode_form(const TokenizerData& data, UnicodeForm form, std::string_view text) {
  FormWriter writer(data, form);
  std::string result;
  result.reserve(text.size());
  size_t at = 0;
  while (at < text.size()) {
    // A run of characters beyond ASCII, with the one before it that they may combine with.
    size_t begin = at;
    while (begin < text.size() && is_ascii(text[begin])) ++begin;
    size_t end = begin;
    while (end < text.size() && !is_ascii(text[end])) ++end;
    if (begin > at && begin < end) --begin;
    result.append(text.substr(at, begin - at));
    const std::string_view run = text.substr(begin, end - begin);
    if (writer.is_inert(run)) {
      result.append(run);
    } else {
      writer.append(run, &result);
    }
    at = end;
  }
  return result;
}

}  // namespace pocketlora::tokenizer
