#include "trainer/best_adapter.h"

#include <cmath>
#include <utility>

namespace pocketlora {

bool BestAdapter::consider(int64_t step, double loss, const Adapter::Pointer& adapter) {
  const bool first = state_.validations == 0 || !std::isfinite(state_.best_loss);
  ++state_.validations;
  const bool improved = std::isfinite(loss) && (first || loss < state_.best_loss - options_.min_delta);
  if (!improved) {
    if (first) state_.best_loss = loss;
    ++state_.without_improvement;
    return false;
  }
  state_.best_step = step;
  state_.best_loss = loss;
  state_.without_improvement = 0;
  if (options_.keep) adapter_ = adapter;
  return true;
}

void BestAdapter::restore(const State& state, Adapter::Pointer adapter) {
  state_ = state;
  adapter_ = std::move(adapter);
}

}  // namespace pocketlora
