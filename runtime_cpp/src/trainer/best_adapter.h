#pragma once

#include <cstdint>

#include "adapters/adapter.h"

namespace pocketlora {

/// Which of the validated adapters was best, and whether there has been no better one for long.
class BestAdapter {
 public:
  struct Options {
    bool keep = false;
    int64_t patience = 0;  ///< 0 = never stop
    double min_delta = 0.0;
  };
  /// What is known, as checkpoints keep it.
  struct State {
    int64_t validations = 0, best_step = 0, without_improvement = 0;
    double best_loss = 0.0;
  };

  BestAdapter() = default;
  explicit BestAdapter(const Options& options) : options_(options) {}

  /// @return whether `loss` is an improvement. A loss that is not finite never is.
  bool consider(int64_t step, double loss, const Adapter::Pointer& adapter);
  bool should_stop() const { return options_.patience > 0 && state_.without_improvement >= options_.patience; }
  const Options& options() const { return options_; }
  const State& state() const { return state_; }
  /// Null when none was kept.
  const Adapter::Pointer& adapter() const { return adapter_; }
  void restore(const State& state, Adapter::Pointer adapter);

 private:
  Options options_;
  State state_;
  Adapter::Pointer adapter_;
};

}  // namespace pocketlora
