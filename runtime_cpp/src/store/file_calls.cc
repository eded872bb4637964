#include "store/file_calls.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>

namespace pocketlora::file_calls {
namespace {

// The kernel's constant: glibc and bionic do not always declare it.
[[maybe_unused]] constexpr unsigned kRenameExchange = 2;

std::atomic<Fault> fault_in_front{nullptr};

/// Whether the call is to fail; errno says how.
bool fails(const char* call, const char* path) {
  const Fault fault = fault_in_front.load(std::memory_order_relaxed);
  if (fault == nullptr) return false;
  const int code = fault(call, path);
  errno = code;
  return code != 0;
}

}  // namespace

void set_fault(Fault fault) { fault_in_front.store(fault); }

int open_new(const char* path) {
  return fails("open", path) ? -1 : ::open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
}

ssize_t write(int descriptor, const void* data, size_t size, const std::string& path) {
  if (fails("write", path.c_str())) return -1;
  const bool cut = size > 1 && fault_in_front.load(std::memory_order_relaxed) != nullptr;
  return ::write(descriptor, data, cut ? size / 2 : size);
}

int fsync(int descriptor, const std::string& path) { return fails("fsync", path.c_str()) ? -1 : ::fsync(descriptor); }

int rename(const char* from, const char* to) { return fails("rename", to) ? -1 : std::rename(from, to); }

int exchange(const char* a, const char* b) {
  if (fails("exchange", b)) return -1;
#if defined(SYS_renameat2)
  return static_cast<int>(::syscall(SYS_renameat2, AT_FDCWD, a, AT_FDCWD, b, kRenameExchange));
#else
  errno = ENOSYS;
  return -1;
#endif
}

int mkdir(const char* path) { return fails("mkdir", path) ? -1 : ::mkdir(path, 0777); }
int unlink(const char* path) { return fails("unlink", path) ? -1 : ::unlink(path); }
int rmdir(const char* path) { return fails("rmdir", path) ? -1 : ::rmdir(path); }

}  // namespace pocketlora::file_calls
