#pragma once

#include <string>

#include "common/result.h"
#include "common/span.h"

namespace pocketlora {

/// A whole file mapped read-only and shared: its pages are clean, belong to the page cache and are never copied.
/// The mapping stays valid after the file is renamed or unlinked. Movable; unmapped by the destructor.
class MappedFile {
 public:
  /// @param missing code used when the file does not exist. Anything else that fails is PL_IO_READ. An empty file has
  /// no mapping.
  static Result<MappedFile> open(const std::string& path, pl_status missing);

  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  ByteSpan bytes() const { return ByteSpan(data_, size_); }
  const uint8_t* data() const { return data_; }
  size_t size() const { return size_; }
  const std::string& path() const { return path_; }

  /// madvise over the pages that hold [offset, offset + size); advice is MADV_WILLNEED, MADV_DONTNEED, ... Only a hint.
  void advise(size_t offset, size_t size, int advice) const;

 private:
  MappedFile(std::string path, const uint8_t* data, size_t size) : path_(std::move(path)), data_(data), size_(size) {}

  std::string path_;
  const uint8_t* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace pocketlora
