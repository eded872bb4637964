#pragma once

#include <cstdint>

// The records of a tokenizer file, as they lie in the mapping (docs/tokenizer.md). Little-endian, naturally aligned.

namespace pocketlora::tokenizer {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "tokenizer files are used in place");

inline constexpr char kMagic[8] = {'P', 'L', 'T', 'O', 'K', 'E', 'N', '\0'};
inline constexpr uint32_t kVersion = 1;
inline constexpr uint32_t kNone = 0xFFFFFFFF;
inline constexpr uint64_t kNoPair = ~uint64_t{0};
/// Token ids take 20 bits of a slot, ranks 24.
inline constexpr uint32_t kIdBits = 20;
inline constexpr uint32_t kRankBits = 24;
inline constexpr uint32_t kMaxTokens = (1U << kIdBits) - 1;
/// Code points lie in blocks of 128 in the two-stage tables.
inline constexpr uint32_t kBlockBits = 7;
inline constexpr uint32_t kBlockSize = 1U << kBlockBits;
inline constexpr uint32_t kCodePoints = 0x110000;
inline constexpr uint32_t kBlockIndices = kCodePoints >> kBlockBits;
/// Sets of characters are bit masks over this many kinds.
inline constexpr uint32_t kMaxKinds = 63;

struct Header {
  char magic[8];
  uint64_t sum, weighted_sum;  ///< of the 64-bit words from `version` to the end of the file
  uint32_t version, num_sections;
  uint64_t file_bytes;
  uint8_t reserved[24];
};
static_assert(sizeof(Header) == 64);

enum class SectionId : uint32_t {
  kSettings = 1,
  kTokenOffsets,
  kTokenBytes,
  kTokenFlags,
  kWords,
  kPairs,
  kResults,
  kByteIds,
  kCharacters,
  kKindIndex,
  kKindBlocks,
  kInstructions,
  kNormalizer,
  kPreTokenizer,
  kDecoder,
  kTexts,
  kAdded,
  kRawTrie,
  kNormalizedTrie,
  kTemplate,
  kNormIndex,
  kNormBlocks,
  kNormRecords,
  kNormCharacters,
  kCompositions,
  kEnd
};

struct Section {
  uint32_t id, element_bytes;
  uint64_t offset, bytes;
};
static_assert(sizeof(Section) == 24);

enum SettingFlag : uint32_t {
  kByteLevel = 1,     ///< words are bytes; else they are characters
  kByteFallback = 2,  ///< an unknown character becomes its bytes
  kFuseUnknown = 4,
  kDecodeBytes = 8,          ///< tokens are bytes of the text; else they are texts
  kDecodeByteFallback = 16,  ///< tokens of the form <0x0A> are bytes
  kDecodeDropFirst = 32,     ///< of the first token, `decode_space` is left out instead of replaced
  kKnownFlags = 63
};

struct Settings {
  uint32_t flags;
  uint32_t num_tokens;  ///< ids are below it
  uint32_t unknown_id;  ///< kNone: unknown characters are left out
  uint32_t longest_word;
  uint32_t boundary;      ///< no merge reaches across the beginning of a run of this character; 0 = none
  uint32_t decode_space;  ///< the character that the Metaspace decoder turns into a space; 0 = none
  uint32_t strip_character, strip_count;
  uint32_t template_prefix;  ///< of the ids in kTemplate; the others follow the text
  uint32_t reserved;
  uint64_t word_set;  ///< what single_word tokens may not touch
};
static_assert(sizeof(Settings) == 48);

enum TokenFlag : uint8_t { kDefined = 1, kSpecial = 2 };

struct CharacterSlot {
  uint32_t character, id;
};

enum class Op : uint32_t { kAccept, kChars, kCharsPossessive, kSplit, kJump, kLook, kLookNot, kEnd };

/// One instruction of a pattern. Targets lie ahead, so every run ends.
struct Instruction {
  uint32_t op, target;
  uint32_t min, max;  ///< repetitions; of kSplit: min != 0 tells that the branch may match nothing
  uint64_t set;       ///< kinds; of kSplit: those that the branch can begin with
};
static_assert(sizeof(Instruction) == 24);

enum class StepKind : uint32_t {
  kPrepend,       ///< normalizer: text 0 before a text that is not empty
  kReplace,       ///< normalizer, decoder: text 0 by text 1; pre-tokenizer as well
  kNfc,           ///< normalizer
  kNfd,           ///< normalizer
  kNfkc,          ///< normalizer
  kNfkd,          ///< normalizer
  kSplit,         ///< pre-tokenizer: program a, behavior b, c = 1: inverted
  kPrependPiece,  ///< pre-tokenizer: text 0 before a piece that does not begin with it; a = 1: only at the text's start
  kEnd
};
enum class Behavior : uint32_t { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous, kEnd };

struct Step {
  uint32_t kind, a, b, c;
  uint32_t text0, size0, text1, size1;  ///< bytes of kTexts
};
static_assert(sizeof(Step) == 32);

enum AddedFlag : uint32_t { kStripLeft = 1, kStripRight = 2, kSingleWord = 4, kKnownAddedFlags = 7 };
struct Added {
  uint32_t id, flags;
};

/// The children of a node lie together, sorted by label, behind it. Node 0 is the root.
struct TrieNode {
  uint32_t first;
  uint16_t count;
  uint8_t label, reserved;
  uint32_t added;  ///< index in kAdded, kNone where no token ends
};
static_assert(sizeof(TrieNode) == 12);

enum NormFlag : uint32_t { kCombiningMask = 0xFF, kNfcInert = 0x100, kNfkcInert = 0x200 };
struct NormRecord {
  uint32_t flags;  ///< combining class and NormFlag
  uint32_t canonical, compatible;
  uint16_t canonical_size, compatible_size;  ///< 0 = the character itself
};
static_assert(sizeof(NormRecord) == 16);

struct CompositionSlot {
  uint32_t first, second, composed, reserved;
};

/// Where a hash of 32 bits lands in a table of `size` slots.
inline uint64_t slot_of(uint64_t hash32, uint64_t size) { return (hash32 * size) >> 32; }
inline uint64_t mix(uint64_t value) { return value * 0x9E3779B97F4A7C15U >> 32; }

}  // namespace pocketlora::tokenizer
