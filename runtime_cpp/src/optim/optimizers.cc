#include "optim/optimizers.h"

#include "kernels/optim/optim.h"

namespace pocketlora {

Status AdamW::step(const std::vector<ParameterGroup>& groups) {
  PL_RETURN_IF_ERROR(check_groups(groups));
  ++steps_;
  const AdamWOptions scalars = {as_written(options_.learning_rate), as_written(options_.beta1),
                                as_written(options_.beta2),         as_written(options_.epsilon),
                                as_written(options_.weight_decay),  steps_};
  float* first = state_.vector(0).data();
  float* second = state_.vector(1).data();
  for (const ParameterGroup& group : groups) {
    const size_t n = group.parameters.size();
    adamw(group.parameters.data(), group.gradients.data(), first, second, static_cast<int64_t>(n), scalars);
    first += n;
    second += n;
  }
  return Status();
}

Status Sgd::step(const std::vector<ParameterGroup>& groups) {
  PL_RETURN_IF_ERROR(check_groups(groups));
  ++steps_;
  const SgdOptions scalars = {as_written(options_.learning_rate), as_written(options_.momentum),
                              as_written(options_.weight_decay)};
  float* momentum = state_.size() > 0 ? state_.vector(0).data() : nullptr;
  for (const ParameterGroup& group : groups) {
    const size_t n = group.parameters.size();
    sgd(group.parameters.data(), group.gradients.data(), momentum, static_cast<int64_t>(n), scalars);
    if (momentum != nullptr) momentum += n;
  }
  return Status();
}

std::vector<Span<float>> Sgd::state() {
  if (state_.size() == 0) return {};
  return {state_.vector(0)};
}

std::vector<std::string> Sgd::state_names() const {
  if (state_.size() == 0) return {};
  return {"momentum_buffer"};
}

}  // namespace pocketlora
