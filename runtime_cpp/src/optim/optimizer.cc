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
  if (kind == PL_ADAMW || kind == PL_ADAMW_8BIT || kind == PL_LION) {
    require(o.beta1 >= 0 && o.beta1 < 1, "beta1", "[0, 1)", o.beta1);
    require(o.beta2 >= 0 && o.beta2 < 1, "beta2", "[0, 1)", o.beta2);
  }
  if (kind == PL_ADAMW || kind == PL_ADAMW_8BIT) {
    require(std::isfinite(o.epsilon) && o.epsilon >= 0, "epsilon", "a finite number, at least 0", o.epsilon);
  }
  if (kind == PL_SGD) {
    require(std::isfinite(o.momentum) && o.momentum >= 0, "momentum", "a finite number, at least 0", o.momentum);
  }
  return problems.to_status(PL_INVALID_ARGUMENT, "optimizer settings out of range");
}

template <typename Kind>
Result<std::unique_ptr<Optimizer>> make(const OptimizerOptions& options, const std::vector<MatrixShape>& shapes) {
  PL_ASSIGN_OR_RETURN(OptimizerState state, OptimizerState::allocate(Kind::vectors(options, shapes)));
  return std::unique_ptr<Optimizer>(new Kind(options, shapes, std::move(state)));
}

}  // namespace

Optimizer::Optimizer(const OptimizerOptions& options, std::vector<MatrixShape> shapes, OptimizerState state)
    : options_(options),
      learning_rate_(as_written(options.learning_rate)),
      shapes_(std::move(shapes)),
      state_(std::move(state)) {}

Status Optimizer::step(const std::vector<ParameterGroup>& groups) {
  bool fits = groups.size() == shapes_.size();
  for (size_t i = 0; fits && i < groups.size(); ++i) {
    const auto size = static_cast<size_t>(shapes_[i].size());
    fits = groups[i].parameters.size() == size && groups[i].gradients.size() == size;
  }
  if (!fits) return error(PL_INVALID_ARGUMENT, "the parameters are not those that the optimizer was made for");
  ++steps_;
  update(groups);
  return Status();
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
                                                  const std::vector<MatrixShape>& shapes) {
  PL_RETURN_IF_ERROR(check_options(kind, options));
  switch (kind) {
    case PL_ADAMW:
      return make<AdamW>(options, shapes);
    case PL_ADAMW_8BIT:
      return make<AdamW8bit>(options, shapes);
    case PL_ADAFACTOR:
      return make<Adafactor>(options, shapes);
    case PL_LION:
      return make<Lion>(options, shapes);
    case PL_SGD:
      return make<Sgd>(options, shapes);
  }
  return error(PL_INVALID_ARGUMENT, "optimizer: expected a pl_optimizer, found %d", static_cast<int>(kind));
}

}  // namespace pocketlora
