#include "added_tokens.h"

#include <algorithm>

#include "utf8.h"

namespace pocketlora::tokenizer {
namespace {

// White_Space of Unicode.
bool is_space(uint32_t c) {
  return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

size_t previous(std::string_view text, size_t at) {
  do --at;
  while ((static_cast<uint8_t>(text[at]) & 0xC0) == 0x80);
  return at;
}

size_t begin_of_spaces(std::string_view text, size_t end) {
  while (end > 0) {
    const size_t at = previous(text, end);
    if (!is_space(character_at(text, at))) break;
    end = at;
  }
  return end;
}

size_t end_of_spaces(std::string_view text, size_t begin) {
  while (begin < text.size() && is_space(character_at(text, begin))) {
    begin += character_size(static_cast<uint8_t>(text[begin]));
  }
  return begin;
}

}  // namespace

AddedTokens::AddedTokens(const TokenizerData& data, const Array<TrieNode>& trie) : data_(data), trie_(trie) {
  std::fill(std::begin(root_), std::end(root_), kNone);
  if (trie.size == 0) return;
  for (uint32_t i = 0; i < trie[0].count; ++i) root_[trie[trie[0].first + i].label] = trie[0].first + i;
}

AddedTokens::Match AddedTokens::longest_match(std::string_view text, size_t at) const {
  Match found = {at, kNone};
  uint32_t index = root_[static_cast<uint8_t>(text[at])];
  while (index != kNone) {
    ++at;
    const TrieNode& node = trie_[index];
    if (node.added != kNone) found = {at, node.added};
    if (at == text.size()) break;
    const auto label = static_cast<uint8_t>(text[at]);
    const TrieNode* const children = trie_.data + node.first;
    const TrieNode* const child =
        std::lower_bound(children, children + node.count, label,
                         [](const TrieNode& candidate, uint8_t wanted) { return candidate.label < wanted; });
    if (child == children + node.count || child->label != label) break;
    index = static_cast<uint32_t>(child - trie_.data);
  }
  return found;
}

bool AddedTokens::touches_word(std::string_view text, size_t begin, size_t end) const {
  const auto is_word = [&](size_t at) {
    return (data_.settings.word_set >> data_.kind_of(character_at(text, at)) & 1) != 0;
  };
  return (begin > 0 && is_word(previous(text, begin))) || (end < text.size() && is_word(end));
}

std::vector<AddedTokens::Part> AddedTokens::split(std::string_view text) const {
  std::vector<Part> parts;
  size_t done = 0;
  const auto add_text = [&](size_t end) {
    if (done < end) parts.push_back({kNone, done, end});
  };
  size_t at = trie_.size == 0 ? text.size() : 0;
  while (at < text.size()) {
    const Match match = longest_match(text, at);
    if (match.added == kNone) {
      ++at;
      continue;
    }
    const Added& added = data_.added[match.added];
    size_t begin = at;
    size_t end = match.end;
    // What was found is passed over even where it may not stand: as Hugging Face does.
    at = match.end;
    if ((added.flags & kSingleWord) != 0 && touches_word(text, begin, end)) continue;
    if ((added.flags & kStripLeft) != 0) begin = std::max(begin_of_spaces(text, begin), done);
    if ((added.flags & kStripRight) != 0) end = end_of_spaces(text, end);
    add_text(begin);
    parts.push_back({added.id, begin, end});
    done = end;
  }
  add_text(text.size());
  return parts;
}

}  // namespace pocketlora::tokenizer
