#include "optim/optimizer.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "optim/optimizers.h"

namespace pocketlora {
namespace {

// Written so that NaN fails.
Status check_options(pl_optimizer kind, const OptimizerOptions& o) {
  ProblemList problems;
  const auto require = [&problems](bool holds, const char* name, const char* expected, float found) {
    if (!holds) problems.addf("%s: expected %s, found %g", name, expected, static_cast<double>(found));
  };
  require(std::isfinite(o.learning_rate) && o.learning_rate >= 0, "learning_rate", "a finite number, at least 0",
          o.learning_rate);
  require(std::isfinite(o.weight_decay) && o.weight_decay >= 0, "weight_decay", "a finite number, at least 0",
          o.weight_decay);
  if (kind == PL_ADAMW) {
    require(o.beta1 >= 0 && o.beta1 < 1, "beta1", "[0, 1)", o.beta1);
    require(o.beta2 >= 0 && o.beta2 < 1, "beta2", "[0, 1)", o.beta2);
    require(std::isfinite(o.epsilon) && o.epsilon >= 0, "epsilon", "a finite number, at least 0", o.epsilon);
  } else {
    require(std::isfinite(o.momentum) && o.momentum >= 0, "momentum", "a finite number, at least 0", o.momentum);
  }
  return problems.to_status(PL_INVALID_ARGUMENT, "optimizer settings out of range");
}

}  // namespace

Status Optimizer::check_groups(const std::vector<ParameterGroup>& groups) const {
  bool fits = groups.size() == sizes_.size();
  for (size_t i = 0; fits && i < groups.size(); ++i) {
    fits = groups[i].parameters.size() == sizes_[i] && groups[i].gradients.size() == sizes_[i];
  }
  return fits ? Status() : error(PL_INVALID_ARGUMENT, "the parameters are not those that the optimizer was made for");
}

double as_written(float value) {
  char text[32];
  // 6 digits always read back from decimal, 9 always suffice for the float itself.
  for (int digits = 6; digits <= 9; ++digits) {
    std::snprintf(text, sizeof(text), "%.*g", digits, static_cast<double>(value));
    if (std::strtof(text, nullptr) == value) return std::strtod(text, nullptr);
  }
  return static_cast<double>(value);
}

Result<std::unique_ptr<Optimizer>> make_optimizer(pl_optimizer kind, const OptimizerOptions& options,
                                                  const std::vector<size_t>& sizes) {
  if (kind != PL_ADAMW && kind != PL_SGD) {
    return error(PL_INVALID_ARGUMENT, "optimizer: expected PL_ADAMW or PL_SGD, found %d", static_cast<int>(kind));
  }
  PL_RETURN_IF_ERROR(check_options(kind, options));
  size_t total = 0;
  for (const size_t size : sizes) total += size;
  const size_t vectors = kind == PL_ADAMW ? 2 : (options.momentum != 0 ? 1 : 0);
  PL_ASSIGN_OR_RETURN(OptimizerState state, OptimizerState::allocate(total, vectors));
  if (kind == PL_ADAMW) return std::unique_ptr<Optimizer>(new AdamW(options, sizes, std::move(state)));
  return std::unique_ptr<Optimizer>(new Sgd(options, sizes, std::move(state)));
}

}  // namespace pocketlora
