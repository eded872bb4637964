#pragma once

#include <cstdint>

#include "trainer/run_control.h"

namespace pocketlora {

/// How fast this process trains: the steps that it has made, what they took, what that means for those that are left.
class TrainingPace {
 public:
  void add(int64_t tokens, double seconds) {
    ++steps_;
    tokens_ += tokens;
    seconds_ += seconds;
  }
  /// Fills the rate and the seconds left in; neither is known without steps, nor the second without a total.
  void fill(Progress* facts) const;

 private:
  int64_t steps_ = 0, tokens_ = 0;
  double seconds_ = 0.0;
};

}  // namespace pocketlora
