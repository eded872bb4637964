#include "store/safetensors.h"

#include <algorithm>
#include <cstring>

#include "common/json_access.h"
#include "store/atomic_file.h"

namespace pocketlora {
namespace {

constexpr size_t kLengthBytes = 8;

// Bits per element of the format's dtypes; 0 for one that it does not have.
int dtype_bits(const std::string& dtype) {
  static const std::map<std::string, int> kBits = {
      {"BOOL", 8}, {"U8", 8},   {"I8", 8},   {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8},
      {"I16", 16}, {"U16", 16}, {"F16", 16}, {"BF16", 16},   {"I32", 32},    {"U32", 32},
      {"F32", 32}, {"F64", 64}, {"I64", 64}, {"U64", 64},    {"C64", 64}};
  const auto found = kBits.find(dtype);
  return found == kBits.end() ? 0 : found->second;
}

uint64_t little_endian_64(const uint8_t* bytes) {
  uint64_t value = 0;
  for (size_t i = 0; i < kLengthBytes; ++i) value |= static_cast<uint64_t>(bytes[i]) << (8 * i);
  return value;
}

// false when the product does not fit.
bool multiply(int64_t a, int64_t b, int64_t* out) { return !__builtin_mul_overflow(a, b, out); }

// Reads one tensor of the header; what is wrong with it goes to `problems`.
void read_entry(const std::string& name, const JsonNode& node, ByteSpan data, ProblemList* problems,
                SafetensorsEntry* entry) {
  const size_t before = problems->size();
  entry->name = name;
  entry->dtype = node.require_string("dtype");
  entry->shape = node.require_ints("shape");
  const std::vector<int64_t> offsets = node.require_ints("data_offsets");
  if (problems->size() != before) return;
  const int bits = dtype_bits(entry->dtype);
  if (bits == 0) return problems->add(name + ": unknown dtype \"" + entry->dtype + "\"");
  int64_t bytes = bits / 8;
  entry->numel = 1;
  for (const int64_t size : entry->shape) {
    if (size < 0 || !multiply(entry->numel, size, &entry->numel) || !multiply(bytes, size, &bytes)) {
      return problems->add(name + ": the shape has a negative size or is too large");
    }
  }
  const auto limit = static_cast<int64_t>(data.size());
  if (offsets.size() != 2 || offsets[0] < 0 || offsets[1] < offsets[0] || offsets[1] > limit) {
    return problems->addf("%s: data_offsets must be [begin, end] within the %lld bytes of data", name.c_str(),
                          static_cast<long long>(limit));
  }
  if (offsets[1] - offsets[0] != bytes) {
    return problems->addf("%s: dtype and shape need %lld bytes, data_offsets give %lld", name.c_str(),
                          static_cast<long long>(bytes), static_cast<long long>(offsets[1] - offsets[0]));
  }
  entry->data = data.subspan(static_cast<size_t>(offsets[0]), static_cast<size_t>(bytes));
}

// The tensors must tile the data: nothing shared, nothing unaccounted for.
void check_tiling(const std::map<std::string, SafetensorsEntry>& entries, ByteSpan data, ProblemList* problems) {
  std::vector<const SafetensorsEntry*> order;
  order.reserve(entries.size());
  for (const auto& named : entries) order.push_back(&named.second);
  std::sort(order.begin(), order.end(), [](const SafetensorsEntry* a, const SafetensorsEntry* b) {
    return a->data.data() != b->data.data() ? a->data.data() < b->data.data() : a->data.size() < b->data.size();
  });
  const uint8_t* expected = data.data();
  for (const SafetensorsEntry* entry : order) {
    if (entry->data.data() != expected) {
      problems->add(entry->name + (entry->data.data() < expected ? ": overlaps the tensor before it"
                                                                 : ": leaves a hole after the tensor before it"));
    }
    expected = std::max(expected, entry->data.end());
  }
  if (expected != data.end()) {
    problems->addf("%zu bytes after the last tensor belong to none", static_cast<size_t>(data.end() - expected));
  }
}

// [begin, end) of the header's JSON, or what is wrong with the length.
Result<ByteSpan> header_of(const MappedFile& file, pl_status corrupt, size_t max_header) {
  if (file.size() < kLengthBytes) {
    return error(corrupt, "%s: not a safetensors file: %zu bytes, expected at least 8", file.path().c_str(),
                 file.size());
  }
  const uint64_t length = little_endian_64(file.data());
  if (length > file.size() - kLengthBytes) {
    return error(corrupt, "%s: truncated or not a safetensors file: a header of %llu bytes in a file of %zu",
                 file.path().c_str(), static_cast<unsigned long long>(length), file.size());
  }
  if (length > max_header) {
    return error(corrupt, "%s: expected a header of at most %zu bytes, found %llu", file.path().c_str(), max_header,
                 static_cast<unsigned long long>(length));
  }
  return file.bytes().subspan(kLengthBytes, static_cast<size_t>(length));
}

void read_metadata(const JsonNode& node, std::map<std::string, std::string>* metadata) {
  for (const auto& member : node.members()) (*metadata)[member.first] = member.second.as_string();
}

}  // namespace

Result<SafetensorsFile> SafetensorsFile::open(const std::string& path, pl_status missing, pl_status corrupt,
                                              size_t max_header) {
  PL_ASSIGN_OR_RETURN(MappedFile mapping, MappedFile::open(path, missing));
  SafetensorsFile file(std::move(mapping));
  PL_ASSIGN_OR_RETURN(const ByteSpan header, header_of(file.file_, corrupt, max_header));
  const std::string_view text(reinterpret_cast<const char*>(header.data()), header.size());
  PL_ASSIGN_OR_RETURN(const Json json, parse_json(text, path + " (header)", corrupt));
  if (!json.is_object()) return error(corrupt, "%s: the header must be a JSON object", path.c_str());

  ProblemList problems;
  const size_t begin = kLengthBytes + header.size();
  const ByteSpan data = file.file_.bytes().subspan(begin, file.file_.size() - begin);
  for (const auto& member : JsonNode(json, "", &problems).members()) {
    if (member.first == "__metadata__") {
      read_metadata(member.second, &file.metadata_);
    } else {
      read_entry(member.first, member.second, data, &problems, &file.entries_[member.first]);
    }
  }
  if (problems.empty()) check_tiling(file.entries_, data, &problems);
  PL_RETURN_IF_ERROR(problems.to_status(corrupt, path + ": not a valid safetensors file"));
  return file;
}

const SafetensorsEntry* SafetensorsFile::find(const std::string& name) const {
  const auto found = entries_.find(name);
  return found == entries_.end() ? nullptr : &found->second;
}

Status write_safetensors(const std::string& path, const std::vector<Float32Tensor>& tensors,
                         const std::map<std::string, std::string>& metadata) {
  std::vector<RawTensor> raw;
  for (const Float32Tensor& tensor : tensors) {
    size_t bytes = sizeof(float);
    for (const int64_t size : tensor.shape) bytes *= static_cast<size_t>(size);
    raw.push_back({tensor.name, "F32", tensor.shape, ByteSpan(reinterpret_cast<const uint8_t*>(tensor.data), bytes)});
  }
  return write_safetensors(path, raw, metadata);
}

Status write_safetensors(const std::string& path, const std::vector<RawTensor>& tensors,
                         const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  size_t offset = 0;
  for (const RawTensor& tensor : tensors) {
    const size_t end = offset + tensor.data.size();
    header[tensor.name] = {{"dtype", tensor.dtype}, {"shape", tensor.shape}, {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text = header.dump();
  // The data starts at a multiple of 8, as the reference writer has it.
  text.append((8 - text.size() % 8) % 8, ' ');
  uint8_t length[kLengthBytes];
  for (size_t i = 0; i < kLengthBytes; ++i) length[i] = static_cast<uint8_t>(uint64_t{text.size()} >> (8 * i));

  PL_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::create(path));
  PL_RETURN_IF_ERROR(file.write(ByteSpan(length, kLengthBytes)));
  PL_RETURN_IF_ERROR(file.write(text));
  for (const RawTensor& tensor : tensors) PL_RETURN_IF_ERROR(file.write(tensor.data));
  return file.commit();
}

}  // namespace pocketlora
