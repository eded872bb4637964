#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>

#include "bundle/manifest.h"
#include "common/result.h"
#include "store/mapped_file.h"

namespace pocketlora {

/// base.ptd, mapped read-only once for everything: its tensors are used where they lie.
class BaseMap {
 public:
  /// Maps the file and compares its tensors (names, sizes) with the manifest's; all differences in one BUNDLE_CORRUPT.
  static Result<BaseMap> open(const std::string& path, const Manifest& manifest);

  /// @return the tensor's first byte inside the mapping; nullptr for a name that the manifest does not have.
  const uint8_t* find(const std::string& name) const;
  const MappedFile& file() const { return file_; }

 private:
  BaseMap(MappedFile file, std::unordered_map<std::string, const uint8_t*> tensors)
      : file_(std::move(file)), tensors_(std::move(tensors)) {}

  MappedFile file_;
  std::unordered_map<std::string, const uint8_t*> tensors_;
};

}  // namespace pocketlora
