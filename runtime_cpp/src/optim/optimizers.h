#pragma once

#include <vector>

#include "optim/optimizer.h"

namespace pocketlora {

/// torch.optim.AdamW: decoupled weight decay, bias-corrected moments.
class AdamW final : public Optimizer {
 public:
  static std::vector<StateVector> vectors(const OptimizerOptions& options, const std::vector<MatrixShape>& shapes);
  using Optimizer::Optimizer;

 private:
  void update(const std::vector<ParameterGroup>& groups) override;
};

/// torchao.optim.AdamW8bit: moments in 8 bits with a scale for every 256 of them. A matrix of fewer than 4096 elements,
/// or not of whole blocks, keeps its moments in fp32, as there.
class AdamW8bit final : public Optimizer {
 public:
  static std::vector<StateVector> vectors(const OptimizerOptions& options, const std::vector<MatrixShape>& shapes);
  using Optimizer::Optimizer;

 private:
  void update(const std::vector<ParameterGroup>& groups) override;
};

/// transformers' Adafactor with a learning rate of its own (neither relative_step nor scale_parameter), as its Trainer
/// uses it: for every matrix one number a row and one a column.
class Adafactor final : public Optimizer {
 public:
  static std::vector<StateVector> vectors(const OptimizerOptions& options, const std::vector<MatrixShape>& shapes);
  using Optimizer::Optimizer;

 private:
  void update(const std::vector<ParameterGroup>& groups) override;
};

/// Lion (arXiv 2302.06675): the sign of a moving average.
class Lion final : public Optimizer {
 public:
  static std::vector<StateVector> vectors(const OptimizerOptions& options, const std::vector<MatrixShape>& shapes);
  using Optimizer::Optimizer;

 private:
  void update(const std::vector<ParameterGroup>& groups) override;
};

/// torch.optim.SGD, with momentum where it is not 0; without it there is no state at all.
class Sgd final : public Optimizer {
 public:
  static std::vector<StateVector> vectors(const OptimizerOptions& options, const std::vector<MatrixShape>& shapes);
  using Optimizer::Optimizer;

 private:
  void update(const std::vector<ParameterGroup>& groups) override;
};

}  // namespace pocketlora
