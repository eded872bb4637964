#include "tokenizer_file.h"

#include <cstring>

namespace pocketlora::tokenizer {
namespace {

constexpr size_t kSummedFrom = offsetof(Header, version);
constexpr size_t kFileAlignment = 64;

Outcome corrupt(const std::string& path, const std::string& problem) {
  return {PL_BUNDLE_CORRUPT, path + ": not a tokenizer file: " + problem};
}

// Two sums, so that neither a changed word nor exchanged ones go unnoticed.
bool sums_match(const uint8_t* bytes, size_t size, const Header& header) {
  uint64_t sum = 0;
  uint64_t weighted = 0;
  for (size_t at = kSummedFrom; at < size; at += sizeof(uint64_t)) {
    uint64_t word = 0;
    std::memcpy(&word, bytes + at, sizeof(word));
    sum += word;
    weighted += sum;
  }
  return sum == header.sum && weighted == header.weighted_sum;
}

class SectionReader {
 public:
  SectionReader(const uint8_t* bytes, size_t size) : bytes_(bytes), size_(size) {}

  // The table of sections follows the header.
  std::string read_table(uint32_t count) {
    if (count > static_cast<uint32_t>(SectionId::kEnd)) return "too many sections";
    if (sizeof(Header) + count * sizeof(Section) > size_) return "its table of sections is cut off";
    for (uint32_t i = 0; i < count; ++i) {
      Section section = {};
      std::memcpy(&section, bytes_ + sizeof(Header) + i * sizeof(Section), sizeof(section));
      const std::string problem = add(section);
      if (!problem.empty()) return problem;
    }
    return "";
  }

  template <typename T>
  std::string get(SectionId id, Array<T>* to) const {
    const Section& section = sections_[static_cast<uint32_t>(id)];
    if (section.bytes == 0) return "";
    if (section.element_bytes != sizeof(T) || section.bytes % sizeof(T) != 0) {
      return "section " + std::to_string(section.id) + ": expected elements of " + std::to_string(sizeof(T)) +
             " bytes, found " + std::to_string(section.bytes) + " bytes in elements of " +
             std::to_string(section.element_bytes);
    }
    *to = {reinterpret_cast<const T*>(bytes_ + section.offset), section.bytes / sizeof(T)};
    return "";
  }

 private:
  std::string add(const Section& section) {
    const std::string name = "section " + std::to_string(section.id);
    if (section.id == 0 || section.id >= static_cast<uint32_t>(SectionId::kEnd)) return name + " is not known";
    if (sections_[section.id].id != 0) return name + " is there twice";
    if (section.offset > size_ || section.bytes > size_ - section.offset || section.offset % kFileAlignment != 0) {
      return name + " lies outside of the file";
    }
    sections_[section.id] = section;
    return "";
  }

  const uint8_t* bytes_;
  size_t size_;
  Section sections_[static_cast<uint32_t>(SectionId::kEnd)] = {};
};

std::string read_sections(const SectionReader& reader, TokenizerData* data) {
  Array<Settings> settings;
  const std::string problems[] = {
      reader.get(SectionId::kSettings, &settings),
      reader.get(SectionId::kTokenOffsets, &data->token_offsets),
      reader.get(SectionId::kTokenBytes, &data->token_bytes),
      reader.get(SectionId::kTokenFlags, &data->token_flags),
      reader.get(SectionId::kWords, &data->words),
      reader.get(SectionId::kPairs, &data->pairs),
      reader.get(SectionId::kResults, &data->results),
      reader.get(SectionId::kByteIds, &data->byte_ids),
      reader.get(SectionId::kCharacters, &data->characters),
      reader.get(SectionId::kKindIndex, &data->kind_index),
      reader.get(SectionId::kKindBlocks, &data->kind_blocks),
      reader.get(SectionId::kInstructions, &data->instructions),
      reader.get(SectionId::kNormalizer, &data->normalizer),
      reader.get(SectionId::kPreTokenizer, &data->pre_tokenizer),
      reader.get(SectionId::kDecoder, &data->decoder),
      reader.get(SectionId::kTexts, &data->texts),
      reader.get(SectionId::kAdded, &data->added),
      reader.get(SectionId::kRawTrie, &data->raw_trie),
      reader.get(SectionId::kNormalizedTrie, &data->normalized_trie),
      reader.get(SectionId::kTemplate, &data->templates),
      reader.get(SectionId::kNormIndex, &data->norm_index),
      reader.get(SectionId::kNormBlocks, &data->norm_blocks),
      reader.get(SectionId::kNormRecords, &data->norm_records),
      reader.get(SectionId::kNormCharacters, &data->norm_characters),
      reader.get(SectionId::kCompositions, &data->compositions),
  };
  for (const std::string& problem : problems) {
    if (!problem.empty()) return problem;
  }
  if (settings.size != 1) return "it has no settings";
  data->settings = settings[0];
  return "";
}

}  // namespace

Outcome read_tokenizer_data(const uint8_t* bytes, size_t size, const std::string& path, TokenizerData* data) {
  Header header = {};
  if (size < sizeof(header)) return corrupt(path, "it has " + std::to_string(size) + " bytes");
  std::memcpy(&header, bytes, sizeof(header));
  if (std::memcmp(header.magic, kMagic, sizeof(kMagic)) != 0) return corrupt(path, "it does not begin with PLTOKEN");
  if (header.version != kVersion) {
    return {PL_BUNDLE_VERSION,
            path + ": format version " + std::to_string(header.version) + ", expected " + std::to_string(kVersion)};
  }
  if (header.file_bytes != size || size % kFileAlignment != 0) {
    return corrupt(path, "expected " + std::to_string(header.file_bytes) + " bytes, found " + std::to_string(size));
  }
  if (!sums_match(bytes, size, header)) return corrupt(path, "its sums do not match: it was changed after it was made");
  SectionReader reader(bytes, size);
  std::string problem = reader.read_table(header.num_sections);
  if (problem.empty()) problem = read_sections(reader, data);
  if (problem.empty()) problem = find_contradiction(*data);
  return problem.empty() ? Outcome() : corrupt(path, problem);
}

}  // namespace pocketlora::tokenizer
