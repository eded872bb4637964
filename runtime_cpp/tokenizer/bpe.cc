#include "bpe.h"

#include <algorithm>
#include <functional>
#include <string>

#include "utf8.h"

namespace pocketlora::tokenizer {
namespace {

// Up to this many symbols a scan for the lowest rank is faster than a heap.
constexpr size_t kShortWord = 64;

uint64_t hash_of(std::string_view word) {
  uint64_t hash = 0xCBF29CE484222325U;
  for (const char c : word) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001B3U;
  return (hash ^ hash >> 32) * 0x9E3779B97F4A7C15U;
}

}  // namespace

// Most words are tokens, and the table holds those that merging would give.
bool Bpe::append_whole(std::string_view word, std::vector<int64_t>* ids) const {
  const Array<uint32_t>& slots = data_.words;
  if (slots.size == 0 || word.size() > data_.settings.longest_word) return false;
  const uint64_t hash = hash_of(word);
  const auto tag = static_cast<uint32_t>(hash & ((1U << (32 - kIdBits)) - 1));
  size_t at = slot_of(hash >> 32, slots.size);
  for (size_t probes = 0; probes < slots.size; ++probes) {
    const uint32_t slot = slots[at];
    if (slot == kNone) return false;
    const uint32_t id = slot & kMaxTokens;
    if (slot >> kIdBits == tag && data_.token(id) == word) {
      ids->push_back(id);
      return true;
    }
    if (++at == slots.size) at = 0;
  }
  return false;
}

void Bpe::encode(std::string_view word, std::vector<int64_t>* ids) {
  std::string boundary;
  if (data_.settings.boundary != 0) append_character(data_.settings.boundary, &boundary);
  while (!boundary.empty()) {
    // Cut before every run of the boundary character but one at the front.
    size_t at = 0;
    while (word.compare(at, boundary.size(), boundary) == 0) at += boundary.size();
    at = word.find(boundary, at);
    if (at == std::string_view::npos) break;
    encode_part(word.substr(0, at), ids);
    word.remove_prefix(at);
  }
  encode_part(word, ids);
}

void Bpe::encode_part(std::string_view word, std::vector<int64_t>* ids) {
  if (append_whole(word, ids)) return;
  symbols_.clear();
  if (data_.has(kByteLevel)) {
    read_bytes(word);
  } else {
    read_characters(word);
  }
  if (symbols_.size() > kShortWord) {
    merge_long();
  } else if (symbols_.size() > 1) {
    merge_short();
  }
  ids->insert(ids->end(), symbols_.begin(), symbols_.end());
}

void Bpe::read_bytes(std::string_view word) {
  bool unknown = false;
  for (const char c : word) {
    const uint32_t id = data_.byte_ids[static_cast<uint8_t>(c)];
    const bool fused = id == kNone && unknown && data_.has(kFuseUnknown);
    unknown = id == kNone;
    if (fused) continue;
    const uint32_t symbol = id == kNone ? data_.settings.unknown_id : id;
    if (symbol != kNone) symbols_.push_back(symbol);
  }
}

// An unknown character is held back until a known one follows: bytes of others go before it, as in Hugging Face's
// model.
void Bpe::read_characters(std::string_view word) {
  const uint32_t unknown_id = data_.settings.unknown_id;
  bool held = false;
  for (size_t at = 0; at < word.size();) {
    const size_t size = character_size(static_cast<uint8_t>(word[at]));
    const uint32_t id = character_id(character_at(word, at));
    if (id != kNone) {
      if (held) symbols_.push_back(unknown_id);
      held = false;
      symbols_.push_back(id);
    } else if (!append_fallback(word.substr(at, size)) && unknown_id != kNone) {
      if (held && !data_.has(kFuseUnknown)) symbols_.push_back(unknown_id);
      held = true;
    }
    at += size;
  }
  if (held) symbols_.push_back(unknown_id);
}

uint32_t Bpe::character_id(uint32_t character) const {
  const Array<CharacterSlot>& slots = data_.characters;
  size_t at = slot_of(mix(character), slots.size);
  for (size_t probes = 0; probes < slots.size; ++probes) {
    if (slots[at].id == kNone || slots[at].character == character) return slots[at].id;
    if (++at == slots.size) at = 0;
  }
  return kNone;
}

bool Bpe::append_fallback(std::string_view character) {
  if (!data_.has(kByteFallback)) return false;
  const auto id = [&](char c) { return data_.byte_ids[static_cast<uint8_t>(c)]; };
  if (!std::all_of(character.begin(), character.end(), [&](char c) { return id(c) != kNone; })) return false;
  for (const char c : character) symbols_.push_back(id(c));
  return true;
}

uint32_t Bpe::rank(uint32_t left, uint32_t right) const {
  const Array<uint64_t>& slots = data_.pairs;
  const uint64_t key = uint64_t{left} << kIdBits | right;
  size_t at = slot_of(mix(key), slots.size);
  for (size_t probes = 0; probes < slots.size; ++probes) {
    const uint64_t slot = slots[at];
    if (slot >> kRankBits == key) return static_cast<uint32_t>(slot & ((1U << kRankBits) - 1));
    if (slot == kNoPair) return kNone;
    if (++at == slots.size) at = 0;
  }
  return kNone;
}

void Bpe::merge_short() {
  uint32_t* const symbols = symbols_.data();
  size_t size = symbols_.size();
  uint32_t ranks[kShortWord];
  for (size_t i = 0; i + 1 < size; ++i) ranks[i] = rank(symbols[i], symbols[i + 1]);
  while (size > 1) {
    const size_t at = static_cast<size_t>(std::min_element(ranks, ranks + size - 1) - ranks);
    if (ranks[at] == kNone) break;
    symbols[at] = data_.results[ranks[at]];
    --size;
    std::copy(symbols + at + 2, symbols + size + 1, symbols + at + 1);
    if (at + 1 < size) {
      std::copy(ranks + at + 2, ranks + size, ranks + at + 1);
      ranks[at] = rank(symbols[at], symbols[at + 1]);
    }
    if (at > 0) ranks[at - 1] = rank(symbols[at - 1], symbols[at]);
  }
  symbols_.resize(size);
}

// A heap of (rank, place) over a linked list. An entry whose place has another rank by now is out of date.
void Bpe::merge_long() {
  const auto size = static_cast<uint32_t>(symbols_.size());
  const auto later = std::greater<uint64_t>();
  ranks_.assign(size, kNone);
  before_.resize(size);
  after_.resize(size);
  queue_.clear();
  const auto set_rank = [&](uint32_t at) {
    const uint32_t next = after_[at];
    ranks_[at] = next == kNone ? kNone : rank(symbols_[at], symbols_[next]);
    return ranks_[at] == kNone ? kNoPair : uint64_t{ranks_[at]} << 32 | at;
  };
  for (uint32_t i = 0; i < size; ++i) {
    before_[i] = i == 0 ? kNone : i - 1;
    after_[i] = i + 1 == size ? kNone : i + 1;
    const uint64_t entry = set_rank(i);
    if (entry != kNoPair) queue_.push_back(entry);
  }
  std::make_heap(queue_.begin(), queue_.end(), later);
  const auto push = [&](uint32_t at) {
    const uint64_t entry = set_rank(at);
    if (entry == kNoPair) return;
    queue_.push_back(entry);
    std::push_heap(queue_.begin(), queue_.end(), later);
  };
  while (!queue_.empty()) {
    const auto at = static_cast<uint32_t>(queue_.front());
    const auto wanted = static_cast<uint32_t>(queue_.front() >> 32);
    std::pop_heap(queue_.begin(), queue_.end(), later);
    queue_.pop_back();
    if (ranks_[at] != wanted) continue;
    const uint32_t gone = after_[at];
    symbols_[at] = data_.results[wanted];
    symbols_[gone] = kNone;
    ranks_[gone] = kNone;
    after_[at] = after_[gone];
    if (after_[at] != kNone) before_[after_[at]] = at;
    push(at);
    if (before_[at] != kNone) push(before_[at]);
  }
  symbols_.erase(std::remove(symbols_.begin(), symbols_.end(), kNone), symbols_.end());
}

}  // namespace pocketlora::tokenizer
