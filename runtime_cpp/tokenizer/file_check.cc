#include <algorithm>

#include "tokenizer_file.h"

// Every index that encoding and decoding follow is checked here once, so that they need not look again.

namespace pocketlora::tokenizer {
namespace {

bool is_id(const TokenizerData& data, uint32_t id) { return id < data.settings.num_tokens; }
bool is_id_or_none(const TokenizerData& data, uint32_t id) { return id == kNone || is_id(data, id); }

bool is_character(uint32_t character) {
  return character < kCodePoints && !(character >= 0xD800 && character < 0xE000);
}

template <typename T, typename Condition>
bool all(const Array<T>& array, Condition condition) {
  return std::all_of(array.begin(), array.end(), condition);
}

bool settings_fit(const TokenizerData& data) {
  const Settings& s = data.settings;
  return (s.flags & ~kKnownFlags) == 0 && s.num_tokens > 0 && s.num_tokens <= kMaxTokens &&
         is_id_or_none(data, s.unknown_id) && is_character(s.boundary) && is_character(s.decode_space) &&
         is_character(s.strip_character) && s.template_prefix <= data.templates.size &&
         all(data.templates, [&](uint32_t id) { return is_id(data, id); });
}

bool tokens_fit(const TokenizerData& data) {
  const Array<uint32_t>& offsets = data.token_offsets;
  if (offsets.size != size_t{data.settings.num_tokens} + 1 || data.token_flags.size != data.settings.num_tokens) {
    return false;
  }
  return std::is_sorted(offsets.begin(), offsets.end()) && offsets[offsets.size - 1] <= data.token_bytes.size;
}

bool words_fit(const TokenizerData& data) {
  return all(data.words, [&](uint32_t slot) { return slot == kNone || is_id(data, slot & kMaxTokens); });
}

bool merges_fit(const TokenizerData& data) {
  constexpr uint64_t kRankMask = (uint64_t{1} << kRankBits) - 1;
  const bool ranks = all(data.pairs, [&](uint64_t p) { return p == kNoPair || (p & kRankMask) < data.results.size; });
  return ranks && all(data.results, [&](uint32_t id) { return is_id(data, id); });
}

bool symbols_fit(const TokenizerData& data) {
  return data.byte_ids.size == 256 && all(data.byte_ids, [&](uint32_t id) { return is_id_or_none(data, id); }) &&
         all(data.characters, [&](const CharacterSlot& c) { return is_id_or_none(data, c.id); });
}

bool kinds_fit(const TokenizerData& data) {
  const size_t blocks = data.kind_blocks.size >> kBlockBits;
  return data.kind_index.size == kBlockIndices && all(data.kind_index, [&](uint16_t b) { return b < blocks; }) &&
         all(data.kind_blocks, [](uint8_t kind) { return kind < kMaxKinds; });
}

bool instructions_fit(const TokenizerData& data) {
  const size_t size = data.instructions.size;
  for (size_t i = 0; i < size; ++i) {
    const Instruction& in = data.instructions[i];
    if (in.op >= static_cast<uint32_t>(Op::kEnd)) return false;
    const auto op = static_cast<Op>(in.op);
    const bool jumps = op == Op::kSplit || op == Op::kJump || op == Op::kLook || op == Op::kLookNot;
    if (jumps && (in.target <= i || in.target >= size)) return false;
    if (!jumps && in.min > in.max) return false;
    // Nothing but kAccept may stand last: the others go on to what follows.
    if (i + 1 == size && op != Op::kAccept) return false;
  }
  return true;
}

bool texts_fit(const TokenizerData& data, const Step& step) {
  const auto fits = [&](uint64_t offset, uint64_t size) { return offset + size <= data.texts.size; };
  return fits(step.text0, step.size0) && fits(step.text1, step.size1);
}

bool step_fits(const TokenizerData& data, const Step& step) {
  if (step.kind >= static_cast<uint32_t>(StepKind::kEnd) || !texts_fit(data, step)) return false;
  switch (static_cast<StepKind>(step.kind)) {
    case StepKind::kReplace:
      return step.size0 > 0;
    case StepKind::kSplit:
      return step.a < data.instructions.size && step.b < static_cast<uint32_t>(Behavior::kEnd);
    case StepKind::kNfc:
    case StepKind::kNfd:
    case StepKind::kNfkc:
    case StepKind::kNfkd:
      return data.norm_index.size == kBlockIndices;
    default:
      return true;
  }
}

bool steps_fit(const TokenizerData& data) {
  for (const Array<Step>* steps : {&data.normalizer, &data.pre_tokenizer, &data.decoder}) {
    if (!all(*steps, [&](const Step& step) { return step_fits(data, step); })) return false;
  }
  return all(data.decoder, [](const Step& step) { return step.kind == static_cast<uint32_t>(StepKind::kReplace); });
}

bool trie_fits(const TokenizerData& data, const Array<TrieNode>& trie) {
  for (size_t i = 0; i < trie.size; ++i) {
    const TrieNode& node = trie[i];
    if (node.count > 0 && (node.first <= i || uint64_t{node.first} + node.count > trie.size)) return false;
    if (node.added != kNone && (i == 0 || node.added >= data.added.size)) return false;
  }
  return true;
}

bool added_fit(const TokenizerData& data) {
  const auto fits = [&](const Added& a) { return is_id(data, a.id) && (a.flags & ~kKnownAddedFlags) == 0; };
  return all(data.added, fits) && trie_fits(data, data.raw_trie) && trie_fits(data, data.normalized_trie);
}

bool normalization_fits(const TokenizerData& data) {
  const size_t blocks = data.norm_blocks.size >> kBlockBits;
  const auto fits = [&](uint64_t offset, uint64_t size) { return offset + size <= data.norm_characters.size; };
  return (data.norm_index.size == 0 || data.norm_index.size == kBlockIndices) &&
         all(data.norm_index, [&](uint16_t block) { return block < blocks; }) &&
         all(data.norm_blocks, [&](uint16_t record) { return record < data.norm_records.size; }) &&
         all(data.norm_records,
             [&](const NormRecord& r) {
               return fits(r.canonical, r.canonical_size) && fits(r.compatible, r.compatible_size);
             }) &&
         all(data.norm_characters, is_character) &&
         all(data.compositions, [](const CompositionSlot& c) { return c.first == kNone || is_character(c.composed); });
}

}  // namespace

std::string find_contradiction(const TokenizerData& data) {
  struct Check {
    const char* what;
    bool (*fits)(const TokenizerData&);
  };
  constexpr Check kChecks[] = {
      {"settings", settings_fit},     {"tokens", tokens_fit},
      {"words", words_fit},           {"merges", merges_fit},
      {"symbols", symbols_fit},       {"kinds of characters", kinds_fit},
      {"patterns", instructions_fit}, {"steps", steps_fit},
      {"added tokens", added_fit},    {"normalization", normalization_fits},
  };
  for (const Check& check : kChecks) {
    if (!check.fits(data)) return std::string("its ") + check.what + " contradict the rest of it";
  }
  return "";
}

}  // namespace pocketlora::tokenizer
