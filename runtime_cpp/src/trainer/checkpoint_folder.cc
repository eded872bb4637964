#include "trainer/checkpoint_folder.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>

#include "store/file_calls.h"
#include "store/mapped_file.h"
#include "store/sha256.h"

namespace pocketlora {
namespace {

constexpr char kChecksums[] = "SHA256SUMS";
constexpr char kPrefix[] = "step-";
constexpr size_t kPrefixLength = 5;
constexpr char kTemporary[] = ".tmp-";
constexpr size_t kHashDigits = 64;

bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// −1 for a name that is not a checkpoint's.
int64_t step_of(const std::string& name) {
  if (name.rfind(kPrefix, 0) != 0) return -1;
  const std::string digits = name.substr(kPrefixLength);
  if (digits.size() < 8 || digits.size() > 18 || !std::all_of(digits.begin(), digits.end(), is_digit)) return -1;
  return std::strtoll(digits.c_str(), nullptr, 10);
}

std::vector<std::string> names_in(const std::string& path) {
  std::vector<std::string> names;
  DIR* folder = ::opendir(path.c_str());
  if (folder == nullptr) return names;
  while (const dirent* entry = ::readdir(folder)) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(name);
  }
  ::closedir(folder);
  return names;
}

void remove_folder(const std::string& path) {
  for (const std::string& name : names_in(path)) file_calls::unlink((path + "/" + name).c_str());
  file_calls::rmdir(path.c_str());
}

Status damaged(const std::string& path, const std::string& what) {
  return error(PL_INPUT_MALFORMED, "%s: %s", path.c_str(), what.c_str());
}

/// "hash  name" lines, as sha256sum writes them, by name.
Result<std::map<std::string, std::string>> read_checksums(const std::string& path) {
  const std::string file = path + "/" + kChecksums;
  PL_ASSIGN_OR_RETURN(const MappedFile mapping, MappedFile::open(file, PL_INPUT_MALFORMED));
  const std::string text(mapping.bytes().begin(), mapping.bytes().end());
  std::map<std::string, std::string> sums;
  for (size_t at = 0; at < text.size();) {
    const size_t end = text.find('\n', at);
    if (end == std::string::npos) return damaged(file, "ends in the middle of a line");
    const std::string line = text.substr(at, end - at);
    at = end + 1;
    const bool formed =
        line.size() > kHashDigits + 2 && line.compare(kHashDigits, 2, "  ") == 0 && line.find('/') == std::string::npos;
    if (!formed || !sums.emplace(line.substr(kHashDigits + 2), line.substr(0, kHashDigits)).second) {
      return damaged(file, "is not a list of checksums");
    }
  }
  return sums;
}

}  // namespace

Result<CheckpointFolder> CheckpointFolder::open(const std::string& dir, bool create) {
  if (create) PL_RETURN_IF_ERROR(make_parent_directories(dir + "/file"));
  const int descriptor = ::open(dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) {
    const bool missing = errno == ENOENT;
    return error(missing ? PL_INPUT_MISSING : PL_IO_READ, "checkpoint folder '%s': %s", dir.c_str(),
                 missing ? "there is none" : std::strerror(errno));
  }
  // Where a file system has no locks there is nobody to wait for.
  while (::flock(descriptor, LOCK_EX) != 0 && errno == EINTR) {
  }
  return CheckpointFolder(dir, descriptor);
}

CheckpointFolder::CheckpointFolder(CheckpointFolder&& other) noexcept
    : dir_(std::move(other.dir_)), descriptor_(other.descriptor_) {
  other.descriptor_ = -1;
}

CheckpointFolder::~CheckpointFolder() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

std::string CheckpointFolder::path_of(int64_t step) const {
  return dir_ + "/" + format("%s%08lld", kPrefix, static_cast<long long>(step));
}

Result<std::vector<int64_t>> CheckpointFolder::steps() const {
  DIR* folder = ::opendir(dir_.c_str());
  if (folder == nullptr) {
    return error(PL_IO_READ, "checkpoint folder '%s': %s", dir_.c_str(), std::strerror(errno));
  }
  ::closedir(folder);
  std::vector<int64_t> steps;
  for (const std::string& name : names_in(dir_)) {
    if (step_of(name) >= 0) steps.push_back(step_of(name));
  }
  std::sort(steps.begin(), steps.end(), std::greater<>());
  return steps;
}

void CheckpointFolder::remove_leftovers() const {
  for (const std::string& name : names_in(dir_)) {
    if (name.rfind(kPrefix, 0) == 0 && name.find(kTemporary) != std::string::npos) remove_folder(dir_ + "/" + name);
  }
}

void CheckpointFolder::prune(int64_t step, int64_t keep) const {
  const Result<std::vector<int64_t>> found = steps();
  if (!found.ok()) return;
  int64_t kept = 0;
  for (const int64_t old : found.value()) {
    if (old <= step && kept++ < keep) continue;
    // Moved away first: what is removed in part must not look like a checkpoint.
    const std::string away = path_of(old) + kTemporary + "removed";
    if (file_calls::rename(path_of(old).c_str(), away.c_str()) == 0) remove_folder(away);
  }
}

Status add_checksums(AtomicDirectory* folder) {
  std::string text;
  for (const std::string& name : folder->names()) {
    PL_ASSIGN_OR_RETURN(const std::string hash, sha256_file(folder->path_of(name), PL_IO_READ));
    text += hash + "  " + name + "\n";
  }
  return write_whole_file(folder->add(kChecksums), text);
}

Status verify_checksums(const std::string& path, const std::vector<std::string>& required) {
  PL_ASSIGN_OR_RETURN(const auto sums, read_checksums(path));
  for (const std::string& name : required) {
    if (sums.count(name) == 0) return damaged(path + "/" + kChecksums, "does not list " + name);
  }
  for (const auto& [name, hash] : sums) {
    PL_ASSIGN_OR_RETURN(const std::string found, sha256_file(path + "/" + name, PL_INPUT_MALFORMED));
    if (found != hash) return damaged(path + "/" + name, "SHA-256 is " + found + ", expected " + hash);
  }
  return Status();
}

}  // namespace pocketlora
