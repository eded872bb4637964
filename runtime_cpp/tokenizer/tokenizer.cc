#include "tokenizer.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "bpe.h"
#include "normalizer.h"
#include "pre_tokenizer.h"
#include "utf8.h"

namespace pocketlora::tokenizer {
namespace {

struct Mapping {
  const uint8_t* bytes = nullptr;
  size_t size = 0;
};

Outcome map_file(const std::string& path, Mapping* mapping) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) {
    if (errno == ENOENT || errno == ENOTDIR) return {PL_BUNDLE_MISSING_FILE, path + ": there is no such file"};
    return {PL_IO_READ, path + ": cannot be opened: " + std::strerror(errno)};
  }
  struct stat facts = {};
  const bool is_file = ::fstat(descriptor, &facts) == 0 && S_ISREG(facts.st_mode);
  const size_t size = is_file ? static_cast<size_t>(facts.st_size) : 0;
  void* address = nullptr;
  if (size > 0) address = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, descriptor, 0);
  const int map_error = errno;
  ::close(descriptor);
  if (!is_file) return {PL_IO_READ, path + ": expected a regular file"};
  if (address == MAP_FAILED) return {PL_IO_READ, path + ": cannot be mapped: " + std::strerror(map_error)};
  *mapping = {static_cast<const uint8_t*>(address), size};
  return {};
}

void unmap(const uint8_t* bytes, size_t size) {
  if (bytes != nullptr) ::munmap(const_cast<uint8_t*>(bytes), size);
}

// What one call of encode() needs beside the file.
struct Workspace {
  explicit Workspace(const TokenizerData& data) : pre_tokenizer(data), bpe(data) {}
  PreTokenizer pre_tokenizer;
  Bpe bpe;
};

void encode_words(std::string_view text, bool at_start, Workspace* work, std::vector<int64_t>* ids) {
  for (const PreTokenizer::Range& word : work->pre_tokenizer.split(text, at_start)) {
    work->bpe.encode(work->pre_tokenizer.text().substr(word.begin, word.end - word.begin), ids);
  }
}

}  // namespace

Outcome Tokenizer::open(const std::string& path, std::unique_ptr<Tokenizer>* out) {
  Mapping mapping;
  Outcome outcome = map_file(path, &mapping);
  if (!outcome.ok()) return outcome;
  TokenizerData data;
  outcome = read_tokenizer_data(mapping.bytes, mapping.size, path, &data);
  if (outcome.ok()) {
    out->reset(new Tokenizer(mapping.bytes, mapping.size, data));
  } else {
    unmap(mapping.bytes, mapping.size);
  }
  return outcome;
}

Tokenizer::Tokenizer(const uint8_t* bytes, size_t size, const TokenizerData& data)
    : bytes_(bytes), size_(size), data_(data), raw_(data_, data_.raw_trie), normalized_(data_, data_.normalized_trie) {}

Tokenizer::~Tokenizer() { unmap(bytes_, size_); }

void Tokenizer::encode(std::string_view text, bool add_special_tokens, std::vector<int64_t>* ids) const {
  const uint32_t* const around = data_.templates.data;
  const uint32_t prefix = data_.settings.template_prefix;
  if (add_special_tokens) ids->insert(ids->end(), around, around + prefix);
  if (is_utf8(text)) {
    encode_text(text, ids);
  } else {
    std::string whole;
    append_lossy(text, false, &whole);
    encode_text(whole, ids);
  }
  if (add_special_tokens) ids->insert(ids->end(), around + prefix, around + data_.templates.size);
}

// Added tokens are looked for twice: in the text as it is, and between what was found in the normalized text.
void Tokenizer::encode_text(std::string_view text, std::vector<int64_t>* ids) const {
  Workspace work(data_);
  std::string normal;
  for (const AddedTokens::Part& part : raw_.split(text)) {
    if (part.id != kNone) {
      ids->push_back(part.id);
      continue;
    }
    std::string_view content = text.substr(part.begin, part.end - part.begin);
    if (data_.normalizer.size > 0) {
      normal = normalize(data_, content);
      content = normal;
    }
    for (const AddedTokens::Part& inner : normalized_.split(content)) {
      if (inner.id != kNone) {
        ids->push_back(inner.id);
      } else {
        const bool at_start = part.begin == 0 && inner.begin == 0;
        encode_words(content.substr(inner.begin, inner.end - inner.begin), at_start, &work, ids);
      }
    }
  }
}

}  // namespace pocketlora::tokenizer
