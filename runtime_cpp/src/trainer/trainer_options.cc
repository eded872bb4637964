#include "trainer/trainer_options.h"

#include <cmath>

namespace pocketlora {

Status TrainerOptions::check() const {
  ProblemList problems;
  if (!(dropout >= 0.0F && dropout < 1.0F)) {
    problems.addf("dropout: expected at least 0 and less than 1, found %g", static_cast<double>(dropout));
  }
  if (activations < PL_ACTIVATIONS_AUTO || activations > PL_ACTIVATIONS_BF16) {
    problems.addf("activations: expected a pl_activations, found %d", static_cast<int>(activations));
  }
  if (!(std::isfinite(max_grad_norm) && max_grad_norm >= 0.0F)) {
    problems.addf("max_grad_norm: expected a finite number, at least 0, found %g", static_cast<double>(max_grad_norm));
  }
  if (max_skipped_steps < 0) {
    problems.addf("max_skipped_steps: expected 0 or more, found %lld", static_cast<long long>(max_skipped_steps));
  }
  if (validation.patience < 0) {
    problems.addf("patience: expected 0 or more, found %lld", static_cast<long long>(validation.patience));
  }
  if (!(std::isfinite(validation.min_delta) && validation.min_delta >= 0.0)) {
    problems.addf("min_delta: expected a finite number, at least 0, found %g", validation.min_delta);
  }
  if (loss < PL_LOSS_CROSS_ENTROPY || loss > PL_LOSS_DPO) {
    problems.addf("loss: expected a pl_loss, found %d", static_cast<int>(loss));
  }
  if (recompute < PL_RECOMPUTE_AUTO || recompute > PL_RECOMPUTE_SELECTIVE) {
    problems.addf("recompute: expected a pl_recompute, found %d", static_cast<int>(recompute));
  }
  if (learns_preferences()) preference.check(&problems);
  PL_RETURN_IF_ERROR(problems.to_status(PL_INVALID_ARGUMENT, "trainer options:"));
  return schedule.check();
}

}  // namespace pocketlora
