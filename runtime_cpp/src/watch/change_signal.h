#pragma once

#include <chrono>
#include <map>
#include <set>
#include <string>

namespace pocketlora {

/// Waits until something in a folder or in those of its subfolders that are followed may have changed: told by inotify
/// where the system has it, otherwise by time alone. What it tells is a hint to look again, never what has changed.
class ChangeSignal {
 public:
  /// @param use_inotify false: by time alone.
  ChangeSignal(std::string dir, bool use_inotify);
  ChangeSignal(const ChangeSignal&) = delete;
  ChangeSignal& operator=(const ChangeSignal&) = delete;
  ~ChangeSignal();

  /// The subfolders to be followed from now on, by name.
  void follow(const std::set<std::string>& names);
  /// @return when there was a change, or after `longest`.
  void wait(std::chrono::milliseconds longest);
  /// Whether the system tells of changes.
  bool notified() const { return root_ >= 0; }

 private:
  int watch(const std::string& path) const;

  std::string dir_;
  int descriptor_ = -1, root_ = -1;
  std::map<std::string, int> followed_;
};

}  // namespace pocketlora
