#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "adapters/adapter.h"
#include "common/result.h"
#include "engine/engine.h"
#include "optim/optimizer.h"
#include "trainer/activation_store.h"
#include "trainer/loss_pass.h"
#include "trainer/packed_batch.h"
#include "trainer/step_passes.h"
#include "trainer/training_plan.h"

namespace pocketlora {

struct TrainerOptions {
  int64_t rank = 16;
  double alpha = 32.0;
  std::vector<std::string> target_modules;  ///< empty = all of the bundle's
  pl_optimizer optimizer = PL_ADAMW;
  OptimizerOptions settings;
  float dropout = 0.0F;
  uint64_t seed = 0;
  pl_activations activations = PL_ACTIVATIONS_AUTO;
  int64_t max_rows = 0;          ///< of a pass; 0 = the bundle's, or what the memory limit allows
  std::string scratch_dir;       ///< empty = block inputs stay in memory
  int64_t activation_limit = 0;  ///< bytes of kept block inputs in memory; 0 = no limit of their own
};

struct StepReport {
  int64_t step = 0;
  double loss = 0.0;
  int64_t num_tokens = 0, num_labels = 0;
  double grad_norm = 0.0;
  double seconds = 0.0;
  int64_t passes = 0;
};

/// Trains one adapter. The forward keeps each block's input only; the backward recomputes a block and writes the
/// gradients of its sites into their place. A step that fails, is cancelled, or whose loss or gradient is not finite
/// leaves the adapter as it was. For one thread at a time, but for cancel().
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
  /// A snapshot: nothing is copied until the trainer's next step, and only if somebody holds it then.
  Adapter::Pointer adapter() const { return adapter_; }
  /// Ends the running step, else the next one, with CANCELLED. For any thread and signal handlers.
  void cancel() { cancelled_.store(true); }
  const TrainingPlan& plan() const { return plan_; }
  bool streams_weights() const { return graph_->streams_weights(); }
  Engine& engine() const { return *engine_; }

 private:
  Trainer(std::shared_ptr<Engine> engine, const TrainerOptions& options)
      : engine_(std::move(engine)), dropout_(options.dropout), seed_(options.seed) {}
  void take_adapter(std::shared_ptr<Adapter> adapter);
  /// Clones the adapter when a snapshot of it is held.
  Status make_writable();
  Status make_plan(const TrainerOptions& options);
  Status allocate_buffers(const TrainerOptions& options);
  /// @return the most bytes of gradients that a layer has.
  int64_t group_sites_by_layer();
  int64_t site_elements(size_t site) const;
  Status allocate_layer_gradients(int64_t bytes);
  Result<std::vector<StepPass>> passes_of(const std::vector<BatchView>& micro_batches) const;
  Status check_cancelled();
  Result<double> run_pass(const BatchView& batch, float weight, size_t index);
  Status run_backward(const LossPass& pass, bool first);
  void accumulate(int64_t layer);
  double gradient_norm() const;

  std::shared_ptr<Engine> engine_;
  StageGraph* graph_ = nullptr;
  std::shared_ptr<Adapter> adapter_;
  std::vector<AdapterSiteView> views_;
  std::optional<AdapterTensors> gradients_;
  std::unique_ptr<Optimizer> optimizer_;
  float dropout_ = 0.0F;
  uint64_t seed_ = 0;
  bool has_gradients_ = false;
  std::atomic<bool> cancelled_{false};
  TrainingPlan plan_;
  std::unique_ptr<RowsCap::Hold> rows_hold_;
  std::optional<ActivationStore> activations_;
  ReservedBuffer grad_hidden_, rope_;
  ReservedBuffer layer_gradients_;        ///< one layer's, before they are added; untouched without accumulation
  std::vector<AdapterSite> layer_sites_;  ///< the sites of every layer, pointing into layer_gradients_
  std::vector<std::vector<size_t>> sites_of_layer_;
  std::vector<MemoryCharge> charges_;
};

}  // namespace pocketlora
