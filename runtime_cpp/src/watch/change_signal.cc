#include "watch/change_signal.h"

#if defined(__linux__)
#include <poll.h>
#include <sys/inotify.h>
#include <unistd.h>
#endif

#include <algorithm>
#include <thread>
#include <utility>

namespace pocketlora {

#if defined(__linux__)

ChangeSignal::ChangeSignal(std::string dir, bool use_inotify) : dir_(std::move(dir)) {
  if (!use_inotify) return;
  descriptor_ = ::inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
  if (descriptor_ >= 0) root_ = watch(dir_);
}

ChangeSignal::~ChangeSignal() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

int ChangeSignal::watch(const std::string& path) const {
  constexpr uint32_t kChanges = IN_CREATE | IN_CLOSE_WRITE | IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE | IN_MODIFY |
                                IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR;
  return ::inotify_add_watch(descriptor_, path.c_str(), kChanges);
}

void ChangeSignal::follow(const std::set<std::string>& names) {
  if (!notified()) return;
  for (auto known = followed_.begin(); known != followed_.end();) {
    if (names.count(known->first) > 0) {
      ++known;
      continue;
    }
    (void)::inotify_rm_watch(descriptor_, known->second);  // gone by itself when the folder was removed
    known = followed_.erase(known);
  }
  // Adding a folder again gives the same watch; one that took the name of another gives a new one.
  for (const std::string& name : names) {
    const int found = watch(dir_ + "/" + name);
    if (found >= 0) followed_[name] = found;
  }
}

void ChangeSignal::wait(std::chrono::milliseconds longest) {
  if (!notified()) return std::this_thread::sleep_for(longest);
  pollfd ready = {descriptor_, POLLIN, 0};
  if (::poll(&ready, 1, static_cast<int>(std::min<int64_t>(longest.count(), 1 << 30))) <= 0) return;
  alignas(inotify_event) char events[4096];
  while (::read(descriptor_, events, sizeof(events)) > 0) {
  }
}

#else

ChangeSignal::ChangeSignal(std::string dir, bool /*use_inotify*/) : dir_(std::move(dir)) {}
ChangeSignal::~ChangeSignal() = default;
void ChangeSignal::follow(const std::set<std::string>& /*names*/) {}
void ChangeSignal::wait(std::chrono::milliseconds longest) { std::this_thread::sleep_for(longest); }

#endif

}  // namespace pocketlora
