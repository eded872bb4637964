#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "bundle/manifest.h"
#include "common/result.h"
#include "engine/memory_account.h"
#include "pocketlora/pocketlora.h"
#include "trainer/activation_store.h"

namespace pocketlora {

/// What training takes, whatever the number of rows and the format of its activations.
struct TrainingNeeds {
  std::vector<MemoryRow> costs;  ///< by rising rows; the last one is the bundle's largest pass
  int64_t num_threads = 1;
  int64_t num_layers = 0, hidden_size = 0, rope_width = 0;
  std::vector<int64_t> kept_columns;  ///< of each layer's kept products; empty = the bundle cannot keep them
  int64_t adapter = 0, gradients = 0, optimizer = 0;
  /// What else the engine holds or has promised: other adapters, sessions' caches, loaded methods, other trainers.
  MemoryAccount::Totals present{};
  int64_t train_arena_present = 0;     ///< of present's arena, the training program's: it is used again
  int64_t kernel_scratch_present = 0;  ///< the process': used again as well
};

/// What the caller fixed, and the limit.
struct TrainingWishes {
  int64_t memory_limit = 0;  ///< 0 = none
  int64_t max_rows = 0;      ///< 0 = the largest that fits
  std::optional<FloatFormat> format;
  bool may_spill = false;        ///< there is a scratch folder
  int64_t activation_limit = 0;  ///< bytes of kept states in memory; 0 = no limit of their own
  pl_recompute recompute = PL_RECOMPUTE_AUTO;
};

struct TrainingPlan {
  ActivationLayout activations;  ///< max_rows among it
  int64_t kept_blocks = 0;       ///< the last ones, which keep products instead of computing them again
  MemoryAccount::Totals parts{};

  int64_t total() const;
};

/// The largest setting within the limit, in this order: as many rows as possible; for these rows states in memory
/// before states in the scratch file; for each of these fp32 before fp16. In the file, as many states stay in memory as
/// the limit leaves room for. In the room that is left then, as many blocks as possible keep their products; with
/// PL_RECOMPUTE_SELECTIVE they all do in every setting. @return OUT_OF_MEMORY with the parts of the smallest setting
/// when none fits, INVALID_ARGUMENT for wishes that contradict each other.
Result<TrainingPlan> plan_training(const TrainingNeeds& needs, const TrainingWishes& wishes);

/// "arena 1.2 MB, block inputs 3.0 MB, …, together 10.0 MB".
std::string parts_text(const MemoryAccount::Totals& parts);

}  // namespace pocketlora
