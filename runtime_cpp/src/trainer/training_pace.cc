#include "trainer/training_pace.h"

#include <algorithm>

namespace pocketlora {

void TrainingPace::fill(Progress* facts) const {
  if (seconds_ > 0) facts->tokens_per_second = static_cast<double>(tokens_) / seconds_;
  if (steps_ == 0 || facts->total_steps == 0) return;
  const auto left = static_cast<double>(std::max<int64_t>(facts->total_steps - facts->step, 0));
  facts->seconds_left = seconds_ / static_cast<double>(steps_) * left;
}

}  // namespace pocketlora
