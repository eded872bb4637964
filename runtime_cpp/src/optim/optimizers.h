#pragma once

#include <string>
#include <utility>
#include <vector>

#include "optim/optimizer.h"
#include "optim/optimizer_state.h"

namespace pocketlora {

/// torch.optim.AdamW: decoupled weight decay, bias-corrected moments.
class AdamW final : public Optimizer {
 public:
  AdamW(const OptimizerOptions& options, std::vector<size_t> sizes, OptimizerState state)
      : Optimizer(options, std::move(sizes)), state_(std::move(state)) {}
  Status step(const std::vector<ParameterGroup>& groups) override;
  std::vector<Span<float>> state() override { return {state_.vector(0), state_.vector(1)}; }
  std::vector<std::string> state_names() const override { return {"exp_avg", "exp_avg_sq"}; }
  int64_t nbytes() const override { return state_.nbytes(); }

 private:
  OptimizerState state_;
};

/// torch.optim.SGD, with momentum where it is not 0; without it there is no state at all.
class Sgd final : public Optimizer {
 public:
  Sgd(const OptimizerOptions& options, std::vector<size_t> sizes, OptimizerState state)
      : Optimizer(options, std::move(sizes)), state_(std::move(state)) {}
  Status step(const std::vector<ParameterGroup>& groups) override;
  std::vector<Span<float>> state() override;
  std::vector<std::string> state_names() const override;
  int64_t nbytes() const override { return state_.nbytes(); }

 private:
  OptimizerState state_;
};

}  // namespace pocketlora
