#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/result.h"
#include "common/span.h"

namespace pocketlora {

/// A flat vector of parameters and its gradient.
struct ParameterGroup {
  Span<float> parameters;
  Span<const float> gradients;
};

/// Settings of both optimizers; defaults are the C API's. Each is taken as the decimal that it was written as: 0.999,
/// where the float is 0.99900001, so that steps equal those of torch, which computes its scalars in double.
struct OptimizerOptions {
  float learning_rate = 1e-4F;
  float beta1 = 0.9F;
  float beta2 = 0.999F;
  float epsilon = 1e-8F;
  float weight_decay = 0.0F;
  float momentum = 0.0F;  ///< SGD
};

/// Updates parameters in place from their gradients, with torch.optim's formulas.
class Optimizer {
 public:
  virtual ~Optimizer() = default;

  /// One step over all groups. @return PL_INVALID_ARGUMENT unless the groups have the sizes given at creation.
  virtual Status step(const std::vector<ParameterGroup>& groups) = 0;

  /// Steps done; settable when a checkpoint is resumed.
  int64_t steps() const { return steps_; }
  void set_steps(int64_t steps) { steps_ = steps; }
  void set_learning_rate(float learning_rate) { options_.learning_rate = learning_rate; }
  const OptimizerOptions& options() const { return options_; }

  /// The state's vectors (moments), in a fixed order: read them to save a checkpoint, write them to resume one.
  virtual std::vector<Span<float>> state() = 0;
  /// Names of state()'s vectors, in the same order.
  virtual std::vector<std::string> state_names() const = 0;
  /// Bytes of state.
  virtual int64_t nbytes() const = 0;

 protected:
  Optimizer(const OptimizerOptions& options, std::vector<size_t> sizes) : options_(options), sizes_(std::move(sizes)) {}
  Status check_groups(const std::vector<ParameterGroup>& groups) const;

  OptimizerOptions options_;
  std::vector<size_t> sizes_;
  int64_t steps_ = 0;
};

/// @return the double nearest to the shortest decimal that reads back as `value`.
double as_written(float value);

/// @param sizes elements of each group. @return PL_INVALID_ARGUMENT for settings out of range (all of them listed),
/// PL_OUT_OF_MEMORY when there is no room for the state.
Result<std::unique_ptr<Optimizer>> make_optimizer(pl_optimizer kind, const OptimizerOptions& options,
                                                  const std::vector<size_t>& sizes);

}  // namespace pocketlora
