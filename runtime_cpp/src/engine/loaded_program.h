#pragma once

#include <executorch/extension/data_loader/buffer_data_loader.h>

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "bundle/manifest.h"
#include "common/result.h"
#include "engine/memory_account.h"
#include "engine/stage.h"
#include "store/mapped_file.h"

namespace pocketlora {

/// One .pte: mapped, verified, compared with the manifest. Its methods are loaded when first asked for and share one
/// arena, which becomes resident only where it is used.
class LoadedProgram {
 public:
  /// @param spec outlives the program. Errors: BUNDLE_CORRUPT, BUNDLE_MISMATCH (all differences from the manifest at
  /// once).
  static Result<std::unique_ptr<LoadedProgram>> open(const std::string& path, const ProgramSpec& spec,
                                                     MemoryAccount* account);

  /// The stages' arena and state are shared, so binding and running one is a critical section.
  std::mutex& mutex() { return mutex_; }
  /// Call with the mutex held. @param method must be one of the spec's.
  Result<Stage*> stage(const std::string& method);
  /// Bytes of the arena, and those of them that are touched.
  int64_t arena_bytes() const { return static_cast<int64_t>(arena_.size()); }
  int64_t arena_resident() const { return resident_bytes(arena_.data(), arena_.size()); }

 private:
  LoadedProgram(MappedFile file, const ProgramSpec& spec, MemoryAccount* account);
  Status check_methods() const;
  Status reserve_arena();

  MappedFile file_;
  const ProgramSpec& spec_;
  MemoryAccount* account_;
  executorch::extension::BufferDataLoader loader_;
  std::unique_ptr<executorch::runtime::Program> program_;
  ReservedBuffer arena_;
  std::vector<executorch::runtime::Span<uint8_t>> spans_;
  executorch::extension::MallocMemoryAllocator temporary_;
  std::mutex mutex_;
  std::map<std::string, std::unique_ptr<Stage>> stages_;
};

}  // namespace pocketlora
