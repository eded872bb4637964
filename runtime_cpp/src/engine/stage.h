#pragma once

#include <executorch/extension/memory_allocator/malloc_memory_allocator.h>
#include <executorch/runtime/executor/memory_manager.h>
#include <executorch/runtime/executor/method.h>
#include <executorch/runtime/executor/program.h>

#include <memory>
#include <string>
#include <vector>

#include "bundle/manifest.h"
#include "common/result.h"
#include "engine/extents.h"
#include "engine/memory_account.h"

namespace pocketlora {

/// A loaded method whose inputs and outputs are the caller's pointers, used in place. Not thread-safe: LoadedProgram's
/// lock guards it.
class Stage {
 public:
  /// @param arena base addresses and sizes of the program's shared planned memory, one span per memory id; outlives the
  /// stage.
  static Result<std::unique_ptr<Stage>> load(const executorch::runtime::Program& program, const MethodSpec& spec,
                                             const std::vector<executorch::runtime::Span<uint8_t>>& arena,
                                             executorch::runtime::MemoryAllocator* temporary, MemoryAccount* account);

  const MethodSpec& spec() const { return spec_; }

  /// Binds memory that stays valid until execute() returns. A tensor without elements may have any pointer, even null.
  Status set_input(size_t index, const void* data, const Extents& extents);
  /// @param bytes how much may be written at `data`: at least the output's size for these extents.
  Status set_output(size_t index, void* data, size_t bytes, const Extents& extents);
  /// Runs the method. @return BACKEND_EXECUTION when it fails, INTERNAL when an input or output was not bound since the
  /// last run.
  Status execute();

 private:
  /// ExecuTorch's allocations while a method is loaded, counted.
  class CountingAllocator final : public executorch::extension::MallocMemoryAllocator {
   public:
    void* allocate(size_t size, size_t alignment) override;
    int64_t bytes() const { return bytes_; }

   private:
    int64_t bytes_ = 0;
  };

  explicit Stage(const MethodSpec& spec) : spec_(spec) {}
  Status check_bound() const;
  Status check_output_shapes() const;

  const MethodSpec& spec_;
  std::vector<executorch::runtime::Span<uint8_t>> spans_;
  std::unique_ptr<executorch::runtime::HierarchicalAllocator> planned_;
  CountingAllocator allocator_;
  std::unique_ptr<executorch::runtime::MemoryManager> manager_;
  std::unique_ptr<executorch::runtime::Method> method_;
  std::vector<size_t> capacities_;       ///< bytes that ExecuTorch expects of an output at its largest
  std::vector<bool> inputs_, outputs_;   ///< bound since the last run
  std::vector<ConcreteShape> expected_;  ///< shapes of the outputs to come
  MemoryCharge charge_;
};

}  // namespace pocketlora
