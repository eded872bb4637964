#pragma once

#include <cstddef>
#include <string>
#include <utility>

#include "common/result.h"

namespace pocketlora {

/// A file without a name in a folder: nobody else sees it, and its space is free again when it is closed, however the
/// process ends. Failures are PL_IO_READ, PL_IO_WRITE, or PL_DISK_FULL when the disk, a quota or a size limit is
/// exhausted; the message names the folder.
class ScratchFile {
 public:
  /// @return PL_INVALID_ARGUMENT when `dir` is not a folder.
  static Result<ScratchFile> create(const std::string& dir);

  ScratchFile(ScratchFile&& other) noexcept { *this = std::move(other); }
  ScratchFile& operator=(ScratchFile&& other) noexcept {
    std::swap(dir_, other.dir_);
    std::swap(descriptor_, other.descriptor_);
    return *this;
  }
  ScratchFile(const ScratchFile&) = delete;
  ScratchFile& operator=(const ScratchFile&) = delete;
  ~ScratchFile();

  /// Writes all bytes and lets the disk start on them.
  Status write(size_t offset, const void* data, size_t size) const;
  Status read(size_t offset, void* data, size_t size) const;
  /// Starts to read ahead. Only a hint.
  void will_need(size_t offset, size_t size) const;
  /// The range is not needed any more: its space and its cached pages go, written back or not. Only a hint.
  void discard(size_t offset, size_t size) const;

 private:
  ScratchFile(std::string dir, int descriptor) : dir_(std::move(dir)), descriptor_(descriptor) {}
  Status failure(pl_status code, const char* action, int error_number) const;

  std::string dir_;
  int descriptor_ = -1;
};

}  // namespace pocketlora
