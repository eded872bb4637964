#include "watch/adapter_watch.h"

#include <dirent.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iterator>
#include <utility>

#include "adapters/adapter_checksums.h"
#include "engine/charged_adapter.h"

namespace pocketlora {
namespace {

// The last one need not be there.
const char* const kFiles[] = {"adapter_config.json", "adapter_model.safetensors", kAdapterChecksumsFile};
constexpr size_t kRequiredFiles = 2;

int64_t modified_ns(const struct stat& file) {
#if defined(__APPLE__)
  const timespec& time = file.st_mtimespec;
#else
  const timespec& time = file.st_mtim;
#endif
  return static_cast<int64_t>(time.tv_sec) * 1000000000 + time.tv_nsec;
}

int64_t wall_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

bool is_folder(const std::string& path) {
  struct stat found{};
  return ::stat(path.c_str(), &found) == 0 && S_ISDIR(found.st_mode);
}

bool passed_over(const std::string& name) { return name[0] == '.' || name.find(".tmp-") != std::string::npos; }

}  // namespace

Result<std::unique_ptr<AdapterWatch>> AdapterWatch::open(std::shared_ptr<Engine> engine, const std::string& dir,
                                                         const WatchOptions& options) {
  if (options.settle_ms < 0 || options.interval_ms <= 0) {
    return error(PL_INVALID_ARGUMENT, "settle_ms and interval_ms: expected 0 or more and above 0, found %lld and %lld",
                 static_cast<long long>(options.settle_ms), static_cast<long long>(options.interval_ms));
  }
  if (!is_folder(dir)) return error(PL_INPUT_MISSING, "%s: there is no such folder", dir.c_str());
  return std::unique_ptr<AdapterWatch>(new AdapterWatch(std::move(engine), dir, options));
}

Result<std::set<std::string>> AdapterWatch::names() const {
  DIR* const folder = ::opendir(dir_.c_str());
  if (folder == nullptr) {
    return error(errno == ENOENT ? PL_INPUT_MISSING : PL_IO_READ, "%s: cannot be read: %s", dir_.c_str(),
                 std::strerror(errno));
  }
  std::set<std::string> found;
  while (const dirent* entry = ::readdir(folder)) {
    const std::string name = entry->d_name;
    if (!passed_over(name) && is_folder(dir_ + "/" + name)) found.insert(name);
  }
  ::closedir(folder);
  return found;
}

AdapterWatch::Stamp AdapterWatch::stamp(const std::string& name) const {
  Stamp stamp;
  for (size_t i = 0; i < std::size(kFiles); ++i) {
    struct stat file{};
    if (::stat((dir_ + "/" + name + "/" + kFiles[i]).c_str(), &file) != 0 || !S_ISREG(file.st_mode)) {
      if (i < kRequiredFiles) return Stamp();
      continue;
    }
    const int64_t modified = modified_ns(file);
    const int64_t facts[] = {static_cast<int64_t>(file.st_dev), static_cast<int64_t>(file.st_ino),
                             static_cast<int64_t>(file.st_size), modified};
    std::copy_n(facts, 4, stamp.facts.begin() + static_cast<std::ptrdiff_t>(4 * i));
    stamp.newest_ns = std::max(stamp.newest_ns, modified);
  }
  return stamp;
}

/// Unchanged for long enough: since it was first seen so, or by the files' own times.
bool AdapterWatch::settled(const Folder& folder) const {
  const int64_t needed = options_.settle_ms * 1000000;
  if (Clock::now() - folder.since >= std::chrono::milliseconds(options_.settle_ms)) return true;
  return folder.seen.complete() && wall_ns() - folder.seen.newest_ns >= needed;
}

void AdapterWatch::exchange(Folder* folder, Adapter::Pointer adapter) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  folder->adapter.swap(adapter);
}

/// Reads what has settled, or takes note that it is gone. @return false when it changed while it was read.
bool AdapterWatch::act(const std::string& name, Folder* folder, std::vector<AdapterEvent>* events) {
  const bool had_one = folder->adapter != nullptr;
  if (!folder->seen.complete()) {
    folder->acted = folder->seen;
    if (had_one) events->push_back({AdapterChange::kRemoved, name, folder->adapter, Status()});
    exchange(folder, nullptr);
    return true;
  }
  Result<Adapter::Pointer> loaded = Adapter::load(engine_->layout(), dir_ + "/" + name);
  if (stamp(name) != folder->seen) return false;
  folder->acted = folder->seen;
  if (!loaded.ok()) {
    events->push_back({AdapterChange::kRejected, name, folder->adapter, loaded.status()});
    return true;
  }
  exchange(folder, charge_adapter(engine_, std::move(loaded).value()));
  events->push_back({had_one ? AdapterChange::kChanged : AdapterChange::kAdded, name, folder->adapter, Status()});
  return true;
}

Status AdapterWatch::look(std::vector<AdapterEvent>* events, bool* unsettled) {
  PL_ASSIGN_OR_RETURN(const std::set<std::string> present, names());
  signal_.follow(present);
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (const std::string& name : present) folders_[name];
  }
  std::vector<std::string> gone;
  for (auto& [name, folder] : folders_) {
    const Stamp now = present.count(name) > 0 ? stamp(name) : Stamp();
    if (now != folder.seen) {
      folder.seen = now;
      folder.since = Clock::now();
    }
    if (folder.seen != folder.acted && !(settled(folder) && act(name, &folder, events))) *unsettled = true;
    if (present.count(name) == 0 && folder.seen == folder.acted) gone.push_back(name);
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  for (const std::string& name : gone) folders_.erase(name);
  return Status();
}

Result<std::vector<AdapterEvent>> AdapterWatch::poll(int64_t timeout_ms) {
  const Clock::time_point end = Clock::now() + std::chrono::milliseconds(std::max<int64_t>(timeout_ms, 0));
  std::vector<AdapterEvent> events;
  while (true) {
    bool unsettled = false;
    PL_RETURN_IF_ERROR(look(&events, &unsettled));
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(end - Clock::now()).count();
    if (!events.empty() || left <= 0) return events;
    // Something unsettled is looked at again when it can have settled, whether or not there is another change.
    const int64_t next = unsettled ? std::max<int64_t>(options_.settle_ms / 4, 1) : options_.interval_ms;
    signal_.wait(std::chrono::milliseconds(std::min<int64_t>(next, left)));
  }
}

Adapter::Pointer AdapterWatch::find(const std::string& name) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found = folders_.find(name);
  return found == folders_.end() ? nullptr : found->second.adapter;
}

}  // namespace pocketlora
