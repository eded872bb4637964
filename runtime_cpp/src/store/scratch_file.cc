#include "store/scratch_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>

namespace pocketlora {
namespace {

/// Made without a name where the file system can do that, else under one that is taken away at once.
int open_nameless(const std::string& dir) {
#ifdef O_TMPFILE
  const int nameless = ::open(dir.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (nameless >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL)) return nameless;
#endif
  std::string pattern = dir + "/pocketlora-XXXXXX";
  const int descriptor = ::mkostemp(pattern.data(), O_CLOEXEC);
  if (descriptor >= 0) ::unlink(pattern.c_str());
  return descriptor;
}

}  // namespace

Result<ScratchFile> ScratchFile::create(const std::string& dir) {
  struct stat facts = {};
  if (::stat(dir.c_str(), &facts) != 0) {
    return error(PL_INVALID_ARGUMENT, "scratch folder '%s': %s", dir.c_str(), std::strerror(errno));
  }
  if (!S_ISDIR(facts.st_mode)) return error(PL_INVALID_ARGUMENT, "scratch folder '%s' is not a folder", dir.c_str());
  const int descriptor = open_nameless(dir);
  if (descriptor >= 0) return ScratchFile(dir, descriptor);
  const bool full = errno == ENOSPC || errno == EDQUOT;
  return error(full ? PL_DISK_FULL : PL_IO_WRITE, "scratch folder '%s': no file can be made in it: %s", dir.c_str(),
               std::strerror(errno));
}

ScratchFile::~ScratchFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

Status ScratchFile::failure(pl_status code, const char* action, int error_number) const {
  return error(code, "the scratch file in '%s' cannot be %s: %s", dir_.c_str(), action, std::strerror(error_number));
}

Status ScratchFile::write(size_t offset, const void* data, size_t size) const {
  const auto* bytes = static_cast<const uint8_t*>(data);
  for (size_t done = 0; done < size;) {
    const ssize_t count = ::pwrite(descriptor_, bytes + done, size - done, static_cast<off_t>(offset + done));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) {
      const int code = count < 0 ? errno : ENOSPC;
      const bool full = code == ENOSPC || code == EDQUOT || code == EFBIG;
      return failure(full ? PL_DISK_FULL : PL_IO_WRITE, "written", code);
    }
    done += static_cast<size_t>(count);
  }
#ifdef SYNC_FILE_RANGE_WRITE
  // Pages that the disk has can be dropped at once where memory is tight; dirty ones would make the step wait.
  (void)::sync_file_range(descriptor_, static_cast<off_t>(offset), static_cast<off_t>(size), SYNC_FILE_RANGE_WRITE);
#endif
  return Status();
}

Status ScratchFile::read(size_t offset, void* data, size_t size) const {
  auto* bytes = static_cast<uint8_t*>(data);
  for (size_t done = 0; done < size;) {
    const ssize_t count = ::pread(descriptor_, bytes + done, size - done, static_cast<off_t>(offset + done));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return failure(PL_IO_READ, "read", errno);
    if (count == 0) return error(PL_IO_READ, "the scratch file in '%s' is too short", dir_.c_str());
    done += static_cast<size_t>(count);
  }
  return Status();
}

void ScratchFile::will_need(size_t offset, size_t size) const {
  (void)::posix_fadvise(descriptor_, static_cast<off_t>(offset), static_cast<off_t>(size), POSIX_FADV_WILLNEED);
}

void ScratchFile::discard(size_t offset, size_t size) const {
#ifdef FALLOC_FL_PUNCH_HOLE
  const int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  if (::fallocate(descriptor_, mode, static_cast<off_t>(offset), static_cast<off_t>(size)) == 0) return;
#endif
  (void)::posix_fadvise(descriptor_, static_cast<off_t>(offset), static_cast<off_t>(size), POSIX_FADV_DONTNEED);
}

}  // namespace pocketlora
