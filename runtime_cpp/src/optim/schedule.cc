#include "optim/schedule.h"

#include <algorithm>
#include <cmath>

namespace pocketlora {

Status Schedule::check() const {
  ProblemList problems;
  if (kind < PL_SCHEDULE_CONSTANT || kind > PL_SCHEDULE_COSINE) {
    problems.addf("schedule: expected a pl_schedule, found %d", static_cast<int>(kind));
  }
  if (warmup_steps < 0) {
    problems.addf("warmup_steps: expected 0 or more, found %lld", static_cast<long long>(warmup_steps));
  }
  if (total_steps < 0 || (kind != PL_SCHEDULE_CONSTANT && total_steps == 0)) {
    problems.addf("total_steps: expected %s, found %lld",
                  total_steps < 0 ? "0 or more" : "the steps after which a linear or cosine schedule ends",
                  static_cast<long long>(total_steps));
  }
  if (kind != PL_SCHEDULE_CONSTANT && total_steps > 0 && warmup_steps > total_steps) {
    problems.addf("warmup_steps: expected at most total_steps (%lld), found %lld", static_cast<long long>(total_steps),
                  static_cast<long long>(warmup_steps));
  }
  return problems.to_status(PL_INVALID_ARGUMENT, "schedule of the learning rate:");
}

double Schedule::factor(int64_t step) const {
  const auto at_least_1 = [](int64_t value) { return static_cast<double>(std::max<int64_t>(value, 1)); };
  if (step < warmup_steps) return static_cast<double>(step) / at_least_1(warmup_steps);
  if (kind == PL_SCHEDULE_CONSTANT) return 1.0;
  const double length = at_least_1(total_steps - warmup_steps);
  if (kind == PL_SCHEDULE_LINEAR) return std::max(0.0, static_cast<double>(total_steps - step) / length);
  const double progress = static_cast<double>(std::min(step, total_steps) - warmup_steps) / length;
  return std::max(0.0, 0.5 * (1.0 + std::cos(M_PI * progress)));
}

}  // namespace pocketlora
