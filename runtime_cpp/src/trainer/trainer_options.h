#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/result.h"
#include "kernels/q4/compute.h"
#include "optim/optimizer.h"
#include "optim/schedule.h"
#include "trainer/best_adapter.h"
#include "trainer/preference_loss.h"

namespace pocketlora {

struct TrainerOptions {
  int64_t rank = 16;
  double alpha = 32.0;
  std::vector<std::string> target_modules;  ///< empty = all of the bundle's
  pl_optimizer optimizer = PL_ADAMW;
  OptimizerOptions settings;
  float dropout = 0.0F;
  uint64_t seed = 0;
  pl_activations activations = PL_ACTIVATIONS_AUTO;
  int64_t max_rows = 0;          ///< of a pass; 0 = the bundle's, or what the memory limit allows
  std::string scratch_dir;       ///< empty = block inputs stay in memory
  int64_t activation_limit = 0;  ///< bytes of kept block inputs in memory; 0 = no limit of their own
  Schedule schedule;
  float max_grad_norm = 0.0F;     ///< 0 = gradients are never scaled down
  int64_t max_skipped_steps = 0;  ///< in a row, because something was not finite
  BestAdapter::Options validation;
  pl_loss loss = PL_LOSS_CROSS_ENTROPY;
  PreferenceOptions preference;  ///< of PL_LOSS_DPO
  Compute compute = Compute::kFloat32;
  pl_recompute recompute = PL_RECOMPUTE_AUTO;

  bool learns_preferences() const { return loss == PL_LOSS_DPO; }

  /// @return INVALID_ARGUMENT with everything that is out of range; the optimizer checks its own settings.
  Status check() const;
};

}  // namespace pocketlora
