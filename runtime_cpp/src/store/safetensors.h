#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "common/result.h"
#include "common/span.h"
#include "store/mapped_file.h"

namespace pocketlora {

/// One tensor of a safetensors file. `data` points into the mapping and need not be aligned.
struct SafetensorsEntry {
  std::string name;
  std::string dtype;  ///< as written: "F32", "BF16", "I64", ...
  std::vector<int64_t> shape;
  int64_t numel = 0;
  ByteSpan data;
};

/// The longest header that the reference implementation reads.
constexpr size_t kMaxSafetensorsHeader = 100'000'000;

/// A validated safetensors file, read in place. Opening refuses: a header that is short, too long, not JSON, or has a
/// key twice; unknown dtypes; sizes that do not follow from dtype and shape; offsets out of range; overlaps; holes.
class SafetensorsFile {
 public:
  /// @param missing, @param corrupt codes for a file that is not there, or not valid.
  /// @param max_header bytes; parsing takes several times as many, so a caller that knows its tensors asks for less.
  static Result<SafetensorsFile> open(const std::string& path, pl_status missing, pl_status corrupt,
                                      size_t max_header = kMaxSafetensorsHeader);

  const std::map<std::string, SafetensorsEntry>& entries() const { return entries_; }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  /// @return nullptr when there is no such tensor.
  const SafetensorsEntry* find(const std::string& name) const;
  const std::string& path() const { return file_.path(); }

 private:
  explicit SafetensorsFile(MappedFile file) : file_(std::move(file)) {}

  MappedFile file_;
  std::map<std::string, SafetensorsEntry> entries_;
  std::map<std::string, std::string> metadata_;
};

/// One fp32 tensor to be written.
struct Float32Tensor {
  std::string name;
  std::vector<int64_t> shape;
  const float* data;
};

/// One tensor of any type to be written.
struct RawTensor {
  std::string name;
  std::string dtype;  ///< "F32", "U8", …
  std::vector<int64_t> shape;
  ByteSpan data;
};

/// Writes an F32 safetensors file atomically, tensor by tensor: no second copy of the data in memory. Tensors lie in
/// the file in the given order.
Status write_safetensors(const std::string& path, const std::vector<Float32Tensor>& tensors,
                         const std::map<std::string, std::string>& metadata);
/// The same with tensors of any type, whose data has the bytes that type and shape ask for.
Status write_safetensors(const std::string& path, const std::vector<RawTensor>& tensors,
                         const std::map<std::string, std::string>& metadata);

}  // namespace pocketlora
