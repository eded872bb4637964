#include "store/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace pocketlora {

Result<MappedFile> MappedFile::open(const std::string& path, pl_status missing) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) {
    if (errno == ENOENT || errno == ENOTDIR) return error(missing, "%s: there is no such file", path.c_str());
    return error(PL_IO_READ, "%s: cannot be opened: %s", path.c_str(), std::strerror(errno));
  }
  struct stat facts = {};
  if (::fstat(descriptor, &facts) != 0 || !S_ISREG(facts.st_mode)) {
    ::close(descriptor);
    return error(PL_IO_READ, "%s: expected a regular file", path.c_str());
  }
  const auto size = static_cast<size_t>(facts.st_size);
  void* address = nullptr;
  if (size > 0) address = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, descriptor, 0);
  const int map_error = errno;
  ::close(descriptor);
  if (address == MAP_FAILED) {
    return error(PL_IO_READ, "%s: cannot be mapped (%zu bytes): %s", path.c_str(), size, std::strerror(map_error));
  }
  return MappedFile(path, static_cast<const uint8_t*>(address), size);
}

MappedFile::MappedFile(MappedFile&& other) noexcept { *this = std::move(other); }

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<uint8_t*>(data_), size_);
}

void MappedFile::advise(size_t offset, size_t size, int advice) const {
  if (data_ == nullptr || offset >= size_) return;
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  const size_t begin = offset / page * page;
  const size_t end = offset + std::min(size, size_ - offset);
  ::madvise(const_cast<uint8_t*>(data_) + begin, end - begin, advice);
}

}  // namespace pocketlora
