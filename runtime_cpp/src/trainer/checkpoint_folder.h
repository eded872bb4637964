#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/result.h"
#include "store/atomic_file.h"

namespace pocketlora {

/// A folder of checkpoints, `step-00000100` and so on, for one user at a time (docs/checkpoint.md). A checkpoint is
/// whole when its SHA256SUMS, which is written last, has the hash of every file.
class CheckpointFolder {
 public:
  /// Waits until no other process writes to it. @param create make it when it does not exist.
  /// @return INPUT_MISSING when there is none.
  static Result<CheckpointFolder> open(const std::string& dir, bool create);

  CheckpointFolder(CheckpointFolder&& other) noexcept;
  CheckpointFolder(const CheckpointFolder&) = delete;
  CheckpointFolder& operator=(const CheckpointFolder&) = delete;
  CheckpointFolder& operator=(CheckpointFolder&&) = delete;
  ~CheckpointFolder();

  /// Steps of the checkpoints that are there, damaged or not, the newest first.
  Result<std::vector<int64_t>> steps() const;
  std::string path_of(int64_t step) const;

  /// Removes what killed processes left half-written or half-removed. What cannot be removed stays.
  void remove_leftovers() const;
  /// Leaves the newest `keep` checkpoints up to `step`, and none beyond it: those belong to a training that was given
  /// up. What cannot be removed stays.
  void prune(int64_t step, int64_t keep) const;

 private:
  CheckpointFolder(std::string dir, int descriptor) : dir_(std::move(dir)), descriptor_(descriptor) {}
  std::vector<std::string> entries() const;

  std::string dir_;
  int descriptor_ = -1;
};

/// Adds SHA256SUMS over all files that were announced, to be committed with them.
Status add_checksums(AtomicDirectory* folder);
/// @param required names that must be among the files. @return INPUT_MALFORMED unless SHA256SUMS is there, lists them,
/// and every file that it lists is what it says; IO_READ.
Status verify_checksums(const std::string& path, const std::vector<std::string>& required);

}  // namespace pocketlora
