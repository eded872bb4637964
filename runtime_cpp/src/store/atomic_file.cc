#include "store/atomic_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "store/file_calls.h"

namespace pocketlora {
namespace {

Status write_error(const std::string& path, const char* action, int code) {
  const bool full = code == ENOSPC || code == EDQUOT || code == EFBIG;
  return error(full ? PL_DISK_FULL : PL_IO_WRITE, "%s: cannot be %s: %s", path.c_str(), action, std::strerror(code));
}

std::string parent_of(const std::string& path) {
  const size_t slash = path.find_last_of('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

std::string without_trailing_slashes(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

std::string temporary_name(const std::string& path) {
  static std::atomic<unsigned> counter{0};
  return path + ".tmp-" + std::to_string(::getpid()) + "-" + std::to_string(counter++);
}

// A rename is durable only once the folder that holds the name is.
Status sync_directory(const std::string& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return write_error(path, "opened", errno);
  const int failed = file_calls::fsync(descriptor, path);
  const int sync_errno = errno;
  ::close(descriptor);
  // Some file systems cannot sync a folder and say EINVAL: then there is nothing more to do.
  return failed != 0 && sync_errno != EINVAL ? write_error(path, "synced", sync_errno) : Status();
}

/// Calls make(name), which creates something that must not exist yet, with one free temporary name. A name can be taken
/// by what a killed process of the same id left: in a container every run may have the same one.
template <typename Make>
Result<std::string> make_temporary(const std::string& path, const Make& make) {
  constexpr int kMaxAttempts = 10000;
  for (int attempt = 1;; ++attempt) {
    std::string name = temporary_name(path);
    if (make(name.c_str())) return name;
    if (errno != EEXIST || attempt == kMaxAttempts) return write_error(name, "created", errno);
  }
}

Result<std::string> make_temporary_directory(const std::string& path) {
  return make_temporary(path, [](const char* name) { return file_calls::mkdir(name) == 0; });
}

// The folder that a path leads to, through symbolic links. A path to nothing is its own.
Result<std::string> resolved_folder(const std::string& path) {
  struct stat facts = {};
  if (::lstat(path.c_str(), &facts) != 0) return path;
  if (::stat(path.c_str(), &facts) != 0) {
    return error(PL_IO_WRITE, "%s: expected a folder or nothing, found a symbolic link to nothing", path.c_str());
  }
  if (!S_ISDIR(facts.st_mode)) {
    return error(PL_IO_WRITE, "%s: expected a folder or nothing, found a file", path.c_str());
  }
  char* real = ::realpath(path.c_str(), nullptr);
  if (real == nullptr) return write_error(path, "resolved", errno);
  std::string folder = real;
  std::free(real);
  return folder;
}

bool same_folder(const std::string& a, const std::string& b) {
  struct stat x = {};
  struct stat y = {};
  return ::stat(a.c_str(), &x) == 0 && ::stat(b.c_str(), &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

// Tried by moving the folder in and back: a mount within one file system is not seen otherwise.
bool lies_across_a_mount(const std::string& temporary, const std::string& target) {
  const std::string inside = temporary_name(target + "/");
  if (std::rename(temporary.c_str(), inside.c_str()) != 0) return errno == EXDEV;
  return std::rename(inside.c_str(), temporary.c_str()) != 0;
}

Status rename_over(const std::string& from, const std::string& to) {
  return file_calls::rename(from.c_str(), to.c_str()) == 0 ? Status() : write_error(to, "replaced", errno);
}

}  // namespace

Status make_parent_directories(const std::string& path) {
  const std::string parent = parent_of(without_trailing_slashes(path));
  for (size_t slash = parent.find('/', 1);; slash = parent.find('/', slash + 1)) {
    const std::string folder = parent.substr(0, slash);
    if (file_calls::mkdir(folder.c_str()) == 0) {
      // What is made durable inside must not hang on a name that is not.
      PL_RETURN_IF_ERROR(sync_directory(parent_of(folder)));
    } else if (errno != EEXIST && errno != EISDIR) {
      // A parent on a read-only file system answers EROFS though it exists.
      const int code = errno;
      struct stat facts = {};
      if (::stat(folder.c_str(), &facts) != 0) return write_error(folder, "created", code);
    }
    if (slash == std::string::npos) return Status();
  }
}

Status write_whole_file(const std::string& path, const std::string& text) {
  PL_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::create(path));
  PL_RETURN_IF_ERROR(file.write(text));
  return file.commit();
}

Result<AtomicFile> AtomicFile::create(const std::string& path) {
  int descriptor = -1;
  PL_ASSIGN_OR_RETURN(std::string temporary, make_temporary(path, [&descriptor](const char* name) {
                        descriptor = file_calls::open_new(name);
                        return descriptor >= 0;
                      }));
  return AtomicFile(path, std::move(temporary), descriptor);
}

AtomicFile::AtomicFile(AtomicFile&& other) noexcept
    : path_(std::move(other.path_)), temporary_(std::move(other.temporary_)), descriptor_(other.descriptor_) {
  other.descriptor_ = -1;
  other.temporary_.clear();
}

AtomicFile::~AtomicFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
  if (!temporary_.empty()) file_calls::unlink(temporary_.c_str());
}

Status AtomicFile::write(ByteSpan bytes) {
  while (!bytes.empty()) {
    const ssize_t count = file_calls::write(descriptor_, bytes.data(), bytes.size(), path_);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return write_error(path_, "written", errno);
    bytes = bytes.subspan(static_cast<size_t>(count), bytes.size() - static_cast<size_t>(count));
  }
  return Status();
}

Status AtomicFile::write(const std::string& text) {
  return write(ByteSpan(reinterpret_cast<const uint8_t*>(text.data()), text.size()));
}

Status AtomicFile::commit() {
  if (file_calls::fsync(descriptor_, path_) != 0) return write_error(path_, "synced", errno);
  const int closed = ::close(descriptor_);
  descriptor_ = -1;
  if (closed != 0) return write_error(path_, "closed", errno);
  PL_RETURN_IF_ERROR(rename_over(temporary_, path_));
  temporary_.clear();
  return sync_directory(parent_of(path_));
}

Result<AtomicDirectory> AtomicDirectory::create(const std::string& path) {
  PL_ASSIGN_OR_RETURN(const std::string target, resolved_folder(without_trailing_slashes(path)));
  PL_RETURN_IF_ERROR(make_parent_directories(target));
  struct stat facts = {};
  const bool exists = ::stat(target.c_str(), &facts) == 0;
  // Replacing the working folder would leave its users in one that has no name any more.
  if (exists && same_folder(target, ".")) return create_within(target);
  Result<std::string> beside = make_temporary_directory(target);
  if (!beside.ok()) return exists ? create_within(target) : Result<AtomicDirectory>(beside.status());
  if (exists && lies_across_a_mount(beside.value(), target)) {
    ::rmdir(beside.value().c_str());
    return create_within(target);
  }
  return AtomicDirectory(target, std::move(beside).value(), false);
}

Result<AtomicDirectory> AtomicDirectory::create_within(const std::string& target) {
  PL_ASSIGN_OR_RETURN(std::string temporary, make_temporary_directory(target + "/"));
  return AtomicDirectory(target, std::move(temporary), true);
}

AtomicDirectory::AtomicDirectory(AtomicDirectory&& other) noexcept
    : path_(std::move(other.path_)),
      temporary_(std::move(other.temporary_)),
      names_(std::move(other.names_)),
      retired_(std::move(other.retired_)),
      within_(other.within_) {
  other.temporary_.clear();
}

AtomicDirectory::~AtomicDirectory() {
  if (temporary_.empty()) return;
  for (const std::string& name : names_) file_calls::unlink((temporary_ + "/" + name).c_str());
  for (const std::string& name : retired_) file_calls::unlink((temporary_ + "/" + name).c_str());
  file_calls::rmdir(temporary_.c_str());
}

std::string AtomicDirectory::add(const std::string& name) {
  names_.push_back(name);
  return path_of(name);
}

Status AtomicDirectory::commit() {
  PL_RETURN_IF_ERROR(sync_directory(temporary_));
  return within_ ? move_files() : move_folder();
}

Status AtomicDirectory::move_folder() {
  if (file_calls::rename(temporary_.c_str(), path_.c_str()) == 0) {
    temporary_.clear();
    return sync_directory(parent_of(path_));
  }
  if (errno != ENOTEMPTY && errno != EEXIST && errno != EBUSY) return write_error(path_, "replaced", errno);
  // After the exchange the destructor removes the old files, which now lie under the temporary name.
  if (!target_holds_other_files() && exchange()) return sync_directory(parent_of(path_));
  return move_files();
}

Status AtomicDirectory::move_files() const {
  for (const std::string& name : names_) {
    PL_RETURN_IF_ERROR(rename_over(temporary_ + "/" + name, path_ + "/" + name));
  }
  for (const std::string& name : retired_) file_calls::unlink((path_ + "/" + name).c_str());
  return sync_directory(path_);
}

bool AtomicDirectory::target_holds_other_files() const {
  DIR* folder = ::opendir(path_.c_str());
  if (folder == nullptr) return true;
  bool others = false;
  while (const dirent* entry = ::readdir(folder)) {
    const std::string name = entry->d_name;
    if (name == "." || name == "..") continue;
    const auto listed = [&name](const std::vector<std::string>& list) {
      return std::find(list.begin(), list.end(), name) != list.end();
    };
    others = others || !(listed(names_) || listed(retired_));
  }
  ::closedir(folder);
  return others;
}

bool AtomicDirectory::exchange() const { return file_calls::exchange(temporary_.c_str(), path_.c_str()) == 0; }

}  // namespace pocketlora
