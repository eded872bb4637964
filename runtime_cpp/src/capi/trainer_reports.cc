#include "capi/trainer_reports.h"

#include "capi/compute.h"

namespace pocketlora {
namespace {

pl_activations activations_of(FloatFormat format) {
  return format == FloatFormat::kFloat32   ? PL_ACTIVATIONS_FP32
         : format == FloatFormat::kFloat16 ? PL_ACTIVATIONS_FP16
                                           : PL_ACTIVATIONS_BF16;
}

}  // namespace

pl_step_report step_report(const StepReport& report) {
  pl_step_report facts = {};
  facts.step = report.step;
  facts.loss = report.loss;
  facts.num_tokens = report.num_tokens;
  facts.num_labels = report.num_labels;
  facts.grad_norm = report.grad_norm;
  facts.seconds = report.seconds;
  facts.passes = report.passes;
  facts.learning_rate = report.learning_rate;
  facts.skipped = report.skipped ? 1 : 0;
  facts.skipped_steps = report.skipped_steps;
  facts.num_pairs = report.rewards.num_pairs;
  fill_rewards(report.rewards, &facts);
  return facts;
}

pl_progress progress_report(const Progress& progress) {
  pl_progress facts = {};
  facts.step = progress.step;
  facts.total_steps = progress.total_steps;
  facts.blocks_done = progress.blocks_done;
  facts.blocks = progress.blocks;
  facts.paused = progress.paused ? 1 : 0;
  facts.loss = progress.loss;
  facts.grad_norm = progress.grad_norm;
  facts.learning_rate = progress.learning_rate;
  facts.tokens = progress.tokens;
  facts.skipped_steps = progress.skipped_steps;
  facts.tokens_per_second = progress.tokens_per_second;
  facts.seconds_left = progress.seconds_left;
  fill_rewards(progress.rewards, &facts);
  return facts;
}

pl_validation validation_report(const ValidationReport& report, const Trainer& trainer) {
  const BestAdapter& best = trainer.best();
  pl_validation facts = {};
  facts.step = report.step;
  facts.loss = report.loss;
  facts.perplexity = report.rewards.num_pairs > 0 ? NAN : std::exp(report.loss);
  facts.num_labels = report.num_labels;
  facts.improved = report.improved ? 1 : 0;
  facts.should_stop = best.should_stop() ? 1 : 0;
  facts.best_step = best.state().best_step;
  facts.best_loss = best.state().best_loss;
  facts.seconds = report.seconds;
  facts.num_pairs = report.rewards.num_pairs;
  fill_rewards(report.rewards, &facts);
  return facts;
}

pl_trainer_info trainer_info_of(const Trainer& trainer) {
  const TrainingPlan& plan = trainer.plan();
  pl_trainer_info facts = {};
  facts.max_rows = plan.activations.max_rows;
  facts.activations = activations_of(plan.activations.format);
  facts.streams_weights = trainer.streams_weights() ? 1 : 0;
  facts.spilled = plan.activations.file_bytes();
  facts.memory_limit = trainer.engine().memory_limit();
  facts.planned = plan.total();
  fill_parts(plan.parts, &facts);
  facts.kept_blocks = plan.kept_blocks;
  facts.compute = static_cast<pl_compute>(trainer.options().compute);
  facts.step_compute = computed_here(trainer.options().compute, kFewRows + 1);
  return facts;
}

}  // namespace pocketlora
