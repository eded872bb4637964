#pragma once

#include <cstdint>

#include "common/status.h"

namespace pocketlora {

/// What a learning rate is multiplied with at each step, as transformers.get_scheduler has it.
struct Schedule {
  pl_schedule kind = PL_SCHEDULE_CONSTANT;
  int64_t warmup_steps = 0;  ///< the factor rises from 0 to 1 over so many steps
  int64_t total_steps = 0;   ///< the factor is 0 from here on; constant schedules have no use for it

  /// @return INVALID_ARGUMENT for numbers that make no schedule, all of them listed.
  Status check() const;
  /// @param step 0 for the first one.
  double factor(int64_t step) const;
};

}  // namespace pocketlora
