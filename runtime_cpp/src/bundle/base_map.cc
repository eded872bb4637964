#include "bundle/base_map.h"

#include <executorch/extension/data_loader/buffer_data_loader.h>
#include <executorch/extension/flat_tensor/flat_tensor_data_map.h>
#include <executorch/extension/flat_tensor/serialize/flat_tensor_header.h>

#include <utility>

#include "store/sha256.h"

namespace pocketlora {
namespace {

using executorch::extension::BufferDataLoader;
using executorch::extension::FlatTensorDataMap;
using executorch::extension::FlatTensorHeader;

// The kernels read whole cache lines of codes; the toolchain promises pages (docs/layout.md).
constexpr uintptr_t kTensorAlignment = 64;

/// ExecuTorch's reader follows the offsets in the table without looking at them, so damage must be found before it
/// does.
Status check_table(const MappedFile& file, const Manifest& manifest) {
  const auto table = static_cast<size_t>(manifest.base_table_bytes);
  if (file.size() < table || table < FlatTensorHeader::kNumHeadBytes) {
    return error(PL_BUNDLE_CORRUPT, "%s: %zu bytes are too few for a table of tensors of %zu", file.path().c_str(),
                 file.size(), table);
  }
  const std::string found = sha256_hex(ByteSpan(file.data(), table));
  if (found == manifest.base_table_sha256) return Status();
  return error(PL_BUNDLE_CORRUPT, "%s: its table of tensors has SHA-256 %s, expected %s", file.path().c_str(),
               found.c_str(), manifest.base_table_sha256.c_str());
}

/// The header's own offsets must stay inside the file, the table inside what was hashed.
Status check_header(const MappedFile& file, const Manifest& manifest) {
  const auto header = FlatTensorHeader::Parse(file.data(), file.size());
  if (!header.ok()) return error(PL_BUNDLE_CORRUPT, "%s is not a FlatTensor file", file.path().c_str());
  const uint64_t size = file.size();
  const auto table = static_cast<uint64_t>(manifest.base_table_bytes);
  const bool buffer_inside =
      header->flatbuffer_offset <= table && header->flatbuffer_size <= table - header->flatbuffer_offset;
  const bool data_inside =
      header->segment_base_offset <= size && header->segment_data_size <= size - header->segment_base_offset;
  if (!buffer_inside || !data_inside) {
    return error(PL_BUNDLE_CORRUPT, "%s: its header describes more than the file's %zu bytes", file.path().c_str(),
                 file.size());
  }
  return Status();
}

const uint8_t* locate(const FlatTensorDataMap& map, const MappedFile& file, const BaseTensorSpec& tensor,
                      ProblemList* problems) {
  const auto data = map.get_data(tensor.name);
  if (!data.ok()) {
    problems->add("tensor '" + tensor.name + "' is missing");
    return nullptr;
  }
  const auto* first = static_cast<const uint8_t*>(data->data());
  const auto begin = reinterpret_cast<uintptr_t>(file.data());
  const auto at = reinterpret_cast<uintptr_t>(first);
  const bool inside =
      at >= begin && at - begin <= file.size() && data->size() <= file.size() - static_cast<size_t>(at - begin);
  if (!inside) {
    problems->add("tensor '" + tensor.name + "' lies outside the file");
  } else if (static_cast<int64_t>(data->size()) != tensor.nbytes) {
    problems->addf("tensor '%s': expected %lld bytes, found %zu", tensor.name.c_str(),
                   static_cast<long long>(tensor.nbytes), data->size());
  } else if (reinterpret_cast<uintptr_t>(first) % kTensorAlignment != 0) {
    problems->addf("tensor '%s' does not start at a multiple of %zu bytes", tensor.name.c_str(),
                   static_cast<size_t>(kTensorAlignment));
  }
  return first;
}

}  // namespace

Result<BaseMap> BaseMap::open(const std::string& path, const Manifest& manifest) {
  PL_ASSIGN_OR_RETURN(MappedFile file, MappedFile::open(path, PL_BUNDLE_MISSING_FILE));
  PL_RETURN_IF_ERROR(check_table(file, manifest));
  PL_RETURN_IF_ERROR(check_header(file, manifest));
  BufferDataLoader loader(file.data(), file.size());
  const auto map = FlatTensorDataMap::load(&loader);
  if (!map.ok()) return error(PL_BUNDLE_CORRUPT, "%s: its table of tensors cannot be read", path.c_str());

  ProblemList problems;
  std::unordered_map<std::string, const uint8_t*> tensors;
  for (const BaseTensorSpec& tensor : manifest.base_tensors) {
    tensors[tensor.name] = locate(*map, file, tensor, &problems);
  }
  const auto count = map->get_num_keys();
  if (!count.ok() || *count != manifest.base_tensors.size()) {
    problems.addf("expected %zu tensors, found %u", manifest.base_tensors.size(), count.ok() ? *count : 0U);
  }
  PL_RETURN_IF_ERROR(problems.to_status(PL_BUNDLE_CORRUPT, path + " does not agree with manifest.json:"));
  return BaseMap(std::move(file), std::move(tensors));
}

const uint8_t* BaseMap::find(const std::string& name) const {
  const auto it = tensors_.find(name);
  return it == tensors_.end() ? nullptr : it->second;
}

}  // namespace pocketlora
