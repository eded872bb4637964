#pragma once

#include <sys/types.h>

#include <cstddef>
#include <string>

namespace pocketlora::file_calls {

/// The system calls that make files, fill them, make them durable and move them. A test may stand in front of them.

int open_new(const char* path);
ssize_t write(int descriptor, const void* data, size_t size, const std::string& path);
int fsync(int descriptor, const std::string& path);
int rename(const char* from, const char* to);
/// renameat2 with RENAME_EXCHANGE; −1 with ENOSYS where the system has none.
int exchange(const char* a, const char* b);
int mkdir(const char* path);
int unlink(const char* path);
int rmdir(const char* path);

/// What stands in front, in tests only: asked before every call, with the call's name and path. 0 lets it pass, an
/// errno makes it fail. While one is set, a write is cut in two, so that a process may also end in its middle.
using Fault = int (*)(const char* call, const char* path);
void set_fault(Fault fault);

}  // namespace pocketlora::file_calls
