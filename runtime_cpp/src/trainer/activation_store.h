#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "common/result.h"
#include "engine/memory_account.h"
#include "kernels/convert/convert.h"
#include "store/scratch_file.h"

namespace pocketlora {

/// How the inputs of the blocks are kept between forward and backward.
struct ActivationLayout {
  int64_t num_layers = 0, max_rows = 0, hidden_size = 0;
  FloatFormat format = FloatFormat::kFloat32;
  /// Bytes of kept states that stay in memory; what is beyond goes to a file in scratch_dir. Negative = all stay.
  int64_t resident_limit = -1;

  /// Whether states lie where the blocks write and read them, uncopied.
  bool in_place() const { return format == FloatFormat::kFloat32 && resident_limit < 0; }
  /// Of one state, as it is kept.
  int64_t stored_state_bytes(int64_t rows) const;
  /// Memory that the store takes.
  Result<int64_t> memory_bytes() const;
  /// The largest size of the scratch file.
  int64_t file_bytes() const;
  /// States of `rows` rows that stay in memory, of num_layers − 1: the last block's input is used where it lies.
  int64_t resident_states(int64_t rows) const;
};

/// The states between blocks in one pass: written by the forward walk, kept in a format, read back by the backward
/// walk from the last layer to the first. Blocks compute in fp32. A state that has values beyond the range of fp16
/// (65504) is kept as bf16, which is as large. For one thread at a time.
class ActivationStore {
 public:
  /// @param scratch_dir where the file is made when the layout has one.
  static Result<ActivationStore> create(const ActivationLayout& layout, const std::string& scratch_dir,
                                        MemoryAccount* account);

  /// Starts a pass of at most max_rows rows.
  void begin(int64_t rows) { rows_ = rows; }
  /// Forward: where the input of block `layer` is written; num_layers = the last block's output. The previous one is
  /// still there.
  float* state(int64_t layer) const;
  /// Forward: keeps the state of a layer that is written now, before that of two layers further on is.
  Status keep(int64_t layer);
  /// Backward: the state of a layer, fp32; valid until the next call. Starts to read the layer below.
  Result<const float*> recall(int64_t layer);
  /// Backward: the place of the last block's output, which has served its purpose once the head has run.
  float* spare() const { return state(layout_.num_layers); }
  const ActivationLayout& layout() const { return layout_; }

 private:
  explicit ActivationStore(const ActivationLayout& layout) : layout_(layout) {}
  size_t state_bytes() const { return static_cast<size_t>(layout_.stored_state_bytes(rows_)); }
  int64_t num_values() const { return rows_ * layout_.hidden_size; }
  /// @return the place of a kept state in memory, null when it is in the file.
  uint8_t* resident(int64_t layer) const;
  bool in_file(int64_t layer) const;
  Status load(int64_t layer, float* to) const;

  ActivationLayout layout_;
  int64_t rows_ = 0;
  ReservedBuffer working_;  ///< all states in place, or the two that a block reads and writes
  ReservedBuffer kept_;
  int64_t kept_bytes_ = 0;
  ReservedBuffer staging_;  ///< a state of two bytes a value on its way to or from the file
  std::vector<FloatFormat> formats_;
  std::unique_ptr<ScratchFile> file_;
};

}  // namespace pocketlora
