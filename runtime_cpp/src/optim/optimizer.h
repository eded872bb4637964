#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/result.h"
#include "common/span.h"
#include "optim/optimizer_state.h"

namespace pocketlora {

/// A matrix of parameters, row-major.
struct MatrixShape {
  int64_t rows = 0, cols = 0;

  int64_t size() const { return rows * cols; }
};

/// A matrix of parameters and its gradient.
struct ParameterGroup {
  Span<float> parameters;
  Span<const float> gradients;
};

/// Settings of the optimizers; defaults are the C API's. Each is taken as the decimal that it was written as: 0.999,
/// where the float is 0.99900001, so that steps equal those of torch, which computes its scalars in double.
struct OptimizerOptions {
  float learning_rate = 1e-4F;
  float beta1 = 0.9F;
  float beta2 = 0.999F;
  float epsilon = 1e-8F;
  float weight_decay = 0.0F;
  float momentum = 0.0F;  ///< SGD
};

/// Updates parameters in place from their gradients, with the formulas of kernels/{optim,adamw8bit,adafactor}.
class Optimizer {
 public:
  Optimizer(const OptimizerOptions& options, std::vector<MatrixShape> shapes, OptimizerState state);
  virtual ~Optimizer() = default;

  /// One step over all matrices. @return PL_INVALID_ARGUMENT unless they have the sizes given at creation.
  Status step(const std::vector<ParameterGroup>& groups);

  /// Steps done; settable when a checkpoint is resumed.
  int64_t steps() const { return steps_; }
  void set_steps(int64_t steps) { steps_ = steps; }
  /// Of the next step; at first that of the options.
  void set_learning_rate(double learning_rate) { learning_rate_ = learning_rate; }
  const OptimizerOptions& options() const { return options_; }

  /// The state's vectors in a fixed order: read them to save a checkpoint, write them to resume one.
  const std::vector<StateVector>& state() const { return state_.vectors(); }
  /// Bytes of state.
  int64_t nbytes() const { return state_.nbytes(); }

 protected:
  virtual void update(const std::vector<ParameterGroup>& groups) = 0;

  OptimizerOptions options_;
  double learning_rate_;
  std::vector<MatrixShape> shapes_;
  OptimizerState state_;
  int64_t steps_ = 0;  ///< in update(): the running one included
};

/// @return the double nearest to the shortest decimal that reads back as `value`.
double as_written(float value);

/// @param shapes of the matrices. @return PL_INVALID_ARGUMENT for settings out of range (all of them listed),
/// PL_OUT_OF_MEMORY when there is no room for the state.
Result<std::unique_ptr<Optimizer>> make_optimizer(pl_optimizer kind, const OptimizerOptions& options,
                                                  const std::vector<MatrixShape>& shapes);

}  // namespace pocketlora
