#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "adapters/adapter.h"
#include "common/result.h"
#include "engine/engine.h"
#include "watch/change_signal.h"

namespace pocketlora {

struct WatchOptions {
  int64_t settle_ms = 200;     ///< for so long the files of a folder must be unchanged before they are read
  int64_t interval_ms = 1000;  ///< between two looks at most
  bool use_inotify = true;
};

enum class AdapterChange { kAdded = 0, kChanged = 1, kRemoved = 2, kRejected = 3 };

struct AdapterEvent {
  AdapterChange change;
  std::string name;          ///< of the adapter's folder
  Adapter::Pointer adapter;  ///< the new one; of a removed one the last; of a rejected one the one that stays, or null
  Status status;             ///< why it was rejected
};

/// The adapters of a folder, each in a subfolder, as they come, change and go. A folder is read when its two files are
/// there and have settled, and checked whole; what is broken is told once and replaces nothing. Names that begin with a
/// dot or hold ".tmp-" (a writer's temporary folders) are passed over. poll() is for one thread at a time, find() for
/// any.
class AdapterWatch {
 public:
  /// @return INPUT_MISSING when there is no such folder, INVALID_ARGUMENT for numbers below 0.
  static Result<std::unique_ptr<AdapterWatch>> open(std::shared_ptr<Engine> engine, const std::string& dir,
                                                    const WatchOptions& options);

  /// Looks, and waits for at most `timeout_ms` until there is something to tell. @return IO_READ or INPUT_MISSING when
  /// the folder cannot be read; the adapters stay.
  Result<std::vector<AdapterEvent>> poll(int64_t timeout_ms);
  /// @return null when there is none of that name.
  Adapter::Pointer find(const std::string& name) const;
  bool notified() const { return signal_.notified(); }

 private:
  using Clock = std::chrono::steady_clock;

  /// What tells one version of a folder from another; all zeros when a file is missing.
  struct Stamp {
    std::array<int64_t, 12> facts{};
    int64_t newest_ns = 0;
    bool complete() const { return facts[0] != 0 || facts[1] != 0; }
    bool operator==(const Stamp& other) const { return facts == other.facts; }
    bool operator!=(const Stamp& other) const { return facts != other.facts; }
  };
  struct Folder {
    Stamp seen, acted;  ///< at the last look; when it was last read or found gone
    Clock::time_point since{};
    Adapter::Pointer adapter;
  };

  AdapterWatch(std::shared_ptr<Engine> engine, std::string dir, const WatchOptions& options)
      : engine_(std::move(engine)), dir_(std::move(dir)), options_(options), signal_(dir_, options.use_inotify) {}
  Result<std::set<std::string>> names() const;
  Stamp stamp(const std::string& name) const;
  bool settled(const Folder& folder) const;
  Status look(std::vector<AdapterEvent>* events, bool* unsettled);
  bool act(const std::string& name, Folder* folder, std::vector<AdapterEvent>* events);
  void exchange(Folder* folder, Adapter::Pointer adapter) const;

  std::shared_ptr<Engine> engine_;
  std::string dir_;
  WatchOptions options_;
  ChangeSignal signal_;
  mutable std::mutex mutex_;  ///< over the folders' adapters and the map
  std::map<std::string, Folder> folders_;
};

}  // namespace pocketlora
