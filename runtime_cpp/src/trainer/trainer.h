#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "adapters/adapter.h"
#include "common/result.h"
#include "engine/engine.h"
#include "optim/optimizer.h"
#include "trainer/loss_pass.h"
#include "trainer/packed_batch.h"

namespace pocketlora {

struct TrainerOptions {
  int64_t rank = 16;
  double alpha = 32.0;
  std::vector<std::string> target_modules;  ///< empty = all of the bundle's
  pl_optimizer optimizer = PL_ADAMW;
  OptimizerOptions settings;
  float dropout = 0.0F;
  uint64_t seed = 0;
};

struct StepReport {
  int64_t step = 0;
  double loss = 0.0;
  int64_t num_tokens = 0, num_labels = 0;
  double grad_norm = 0.0;
  double seconds = 0.0;
};

/// Trains one adapter. The forward keeps each block's input only; the backward recomputes a block and writes the
/// gradients of its sites into their place. A step that fails, or whose loss or gradient is not finite, leaves the
/// adapter as it was. For one thread at a time.
class Trainer {
 public:
  /// @param init start from a copy of it; null = a new one by `options`.
  static Result<std::unique_ptr<Trainer>> create(std::shared_ptr<Engine> engine, const TrainerOptions& options,
                                                 const Adapter::Pointer& init);

  Status set_learning_rate(float learning_rate);
  /// Gradients of the mean loss over all unmasked tokens of the micro-batches; no optimizer step.
  Result<StepReport> forward_backward(const std::vector<BatchView>& micro_batches);
  Result<StepReport> step(const std::vector<BatchView>& micro_batches);
  /// @param name PEFT key. @return INVALID_ARGUMENT for an unknown name or another number of elements.
  Status get_gradient(const std::string& name, Span<float> out) const;
  /// A snapshot, independent of the trainer.
  Result<Adapter::Pointer> adapter() const;
  Engine& engine() const { return *engine_; }
  const std::shared_ptr<Engine>& shared_engine() const { return engine_; }

 private:
  Trainer(std::shared_ptr<Engine> engine, const TrainerOptions& options, Adapter::Pointer start, AdapterTensors tensors,
          AdapterTensors gradients);
  Status prepare(const TrainerOptions& options);
  Status allocate_activations();
  Status allocate_layer_gradients();
  float* block_input(int64_t layer, int64_t rows) const;
  Result<double> run_micro_batch(const BatchView& batch, float weight, size_t index);
  Status run_backward(const LossPass& pass, bool first);
  void accumulate(int64_t layer);
  double gradient_norm() const;

  std::shared_ptr<Engine> engine_;
  StageGraph* graph_ = nullptr;
  Adapter::Pointer start_;  ///< its config is the trained adapter's
  AdapterTensors tensors_, gradients_;
  std::vector<AdapterSiteView> views_;
  std::unique_ptr<Optimizer> optimizer_;
  float dropout_ = 0.0F;
  uint64_t seed_ = 0;
  bool has_gradients_ = false;
  ReservedBuffer block_inputs_, grad_hidden_, rope_;
  ReservedBuffer layer_gradients_;        ///< one layer's, before they are added; untouched without accumulation
  std::vector<AdapterSite> layer_sites_;  ///< the sites of every layer, pointing into layer_gradients_
  std::vector<std::vector<size_t>> sites_of_layer_;
  std::vector<MemoryCharge> charges_;
};

}  // namespace pocketlora
