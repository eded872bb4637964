#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "adapters/adapter.h"
#include "adapters/adapter_set.h"
#include "common/result.h"
#include "engine/engine.h"
#include "optim/optimizer.h"
#include "trainer/activation_store.h"
#include "trainer/best_adapter.h"
#include "trainer/checkpoint.h"
#include "trainer/gradients.h"
#include "trainer/kept_products.h"
#include "trainer/loss_pass.h"
#include "trainer/metrics_log.h"
#include "trainer/packed_batch.h"
#include "trainer/run_control.h"
#include "trainer/scoring.h"
#include "trainer/step_passes.h"
#include "trainer/trainer_options.h"
#include "trainer/training_pace.h"
#include "trainer/training_plan.h"

namespace pocketlora {

struct PairScoring;

struct StepReport {
  int64_t step = 0;
  double loss = 0.0;
  int64_t num_tokens = 0, num_labels = 0;
  double grad_norm = 0.0;
  double seconds = 0.0;
  int64_t passes = 0;
  double learning_rate = 0.0;
  bool finite = true;    ///< the loss and the gradient
  bool skipped = false;  ///< the adapter was left as it was
  int64_t skipped_steps = 0;
  Rewards rewards;  ///< of preference pairs
};

struct ValidationReport {
  int64_t step = 0;
  double loss = 0.0;
  int64_t num_labels = 0;
  bool improved = false;
  double seconds = 0.0;
  Rewards rewards;  ///< of preference pairs
};

/// Trains one adapter. The forward keeps each block's input, and of some blocks the products that take the longest to
/// compute again (KeptProducts); the backward recomputes the rest and writes the gradients of its sites into their
/// place. A step that fails, is cancelled, or whose loss or gradient is not finite
/// leaves the adapter as it was. For one thread at a time, but for control() and, while a step is held, checkpoints.
class Trainer {
 public:
  /// @param init start from a copy of it; null = a new one by `options`. The reference of preferences is `init`, or the
  /// bare base without one.
  static Result<std::unique_ptr<Trainer>> create(std::shared_ptr<Engine> engine, const TrainerOptions& options,
                                                 const Adapter::Pointer& init);

  Status set_learning_rate(float learning_rate);
  /// Gradients of the mean loss over all unmasked tokens of the micro-batches, or over all of their preference pairs
  /// (check_pairs); no optimizer step.
  Result<StepReport> forward_backward(const std::vector<BatchView>& micro_batches);
  Result<StepReport> step(const std::vector<BatchView>& micro_batches);
  /// Of the adapter as it is now, over all batches together.
  Result<ValidationReport> validate(const std::vector<BatchView>& batches);
  const BestAdapter& best() const { return best_; }

  Result<CheckpointFacts> save_checkpoint(const std::string& dir, int64_t keep, const std::string& user_state);
  Result<CheckpointFacts> load_checkpoint(const std::string& dir);
  /// The events of this training: checkpoints keep them, artifacts are written with them.
  MetricsLog& metrics() { return metrics_; }
  /// Writes the folder of this run (docs/artifact.md). @param best the adapter of the best validation, not the one as
  /// it is now. @return INVALID_STATE when there is none.
  Status save_artifact(const std::string& dir, bool best, const std::string& run_json,
                       const std::string& version) const;
  /// @param name PEFT key. @return INVALID_ARGUMENT for an unknown name or another number of elements.
  Status get_gradient(const std::string& name, Span<float> out) const;
  /// A snapshot: nothing is copied until the trainer's next step, and only if somebody holds it then.
  Adapter::Pointer adapter() const { return adapter_; }
  /// Cancelling, holding, progress: for other threads.
  RunControl& control() { return control_; }
  const RunControl& control() const { return control_; }
  const TrainingPlan& plan() const { return plan_; }
  const TrainerOptions& options() const { return options_; }
  bool streams_weights() const { return graph_->streams_weights(); }
  Engine& engine() const { return *engine_; }

 private:
  Trainer(std::shared_ptr<Engine> engine, const TrainerOptions& options);
  void take_adapter(std::shared_ptr<Adapter> adapter);
  /// Clones the adapter when a snapshot of it is held.
  Status make_writable();
  Status make_plan(const TrainerOptions& options);
  Status allocate_buffers(const TrainerOptions& options);
  Result<std::vector<StepPass>> passes_of(const std::vector<BatchView>& micro_batches) const;
  Status cancelled() const;
  /// Between blocks: waits while held. @return CANCELLED when it was.
  Status at_block();
  /// Forward and backward of all passes, up to the first one that is not finite.
  Result<StepReport> compute(const std::vector<BatchView>& micro_batches);
  Status run_passes(const std::vector<StepPass>& passes, StepReport* report);
  Status run_tokens(const std::vector<StepPass>& passes, StepReport* report);
  Status run_pairs(const std::vector<StepPass>& passes, StepReport* report);
  /// @param first of the two passes of a pair that no pass has room for. @return as run_pass(); so does the next one.
  Result<double> run_divided_pair(const PairScoring& scoring, const std::vector<StepPass>& passes, size_t first,
                                  RewardSums* sums);
  Result<double> run_whole_pairs(const PairScoring& scoring, const StepPass& pass, size_t index, RewardSums* sums);
  /// Multiplies the rows of one segment in the gradient that the head has left.
  void scale_gradient(const BatchView& batch, size_t segment, double factor);
  /// Blocks that the passes take, forward and backward and for the reference.
  int64_t blocks_of(const std::vector<StepPass>& passes) const;
  /// @return an error when there were too many of them.
  Status skip(StepReport* report);
  void note_progress(const StepReport& report);
  Json settings() const;
  /// What a pass's loss is, given its log-probabilities by row; it may scale the gradient that the head has left.
  using PassLoss = std::function<double(const PackedRows& rows, const std::vector<float>& logprobs)>;
  /// Forward and, unless something is not finite, backward. @param weight of each unmasked row in the head's gradient.
  /// @return the loss, NaN when something is not finite.
  Result<double> run_pass(const BatchView& batch, float weight, size_t index, const PassLoss& pass_loss);
  Dropout dropout_of(size_t index) const;
  Status take_reference(const Adapter::Pointer& init);
  Result<AdapterSet> reference_set() const;
  Result<ValidationReport> validate_tokens(const std::vector<BatchView>& batches);
  Result<ValidationReport> validate_pairs(const std::vector<BatchView>& batches);
  Status run_backward(const LossPass& pass, bool first);

  std::shared_ptr<Engine> engine_;
  StageGraph* graph_ = nullptr;
  std::shared_ptr<Adapter> adapter_;
  std::vector<AdapterSiteView> views_;
  std::optional<Gradients> gradients_;
  std::unique_ptr<Optimizer> optimizer_;
  TrainerOptions options_;
  TrainingState state_;  ///< its optimizer_steps and best are only filled for checkpoints
  BestAdapter best_;
  Adapter::Pointer reference_;    ///< of preferences; null = the bare base
  std::string reference_sha256_;  ///< of its matrices
  MetricsLog metrics_;
  bool has_gradients_ = false;
  RunControl control_;
  TrainingPace pace_;
  TrainingPlan plan_;
  std::unique_ptr<RowsCap::Hold> rows_hold_;
  std::optional<ActivationStore> activations_;
  std::optional<KeptProducts> kept_;
  ReservedBuffer grad_hidden_, rope_;
  MemoryCharge optimizer_charge_;
};

}  // namespace pocketlora
