// Trainer::compute: the passes of a step, forward and backward.

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <utility>

#include "common/splitmix64.h"
#include "trainer/pass_memory.h"
#include "trainer/trainer.h"

namespace pocketlora {
namespace {

std::string batch_name(size_t index) { return "micro-batch " + std::to_string(index); }

}  // namespace

Status Trainer::cancelled() const {
  return error(PL_CANCELLED, "step %lld was cancelled; the adapter is unchanged",
               static_cast<long long>(state_.step + 1));
}

Status Trainer::at_block() { return control_.at_block() ? cancelled() : Status(); }

Result<std::vector<StepPass>> Trainer::passes_of(const std::vector<BatchView>& micro_batches) const {
  const Limits& bundle = engine_->manifest().limits;
  const size_t together = options_.learns_preferences() ? 2 : 1;
  const PassLimits limits = {bundle.train_t_min, plan_.activations.max_rows, bundle.max_segments, together};
  const auto too_long = [&](const std::string& segment, int64_t rows) {
    return too_long_for_pass(*engine_, segment, rows, limits.max_rows);
  };
  std::vector<StepPass> passes;
  for (size_t i = 0; i < micro_batches.size(); ++i) {
    PL_RETURN_IF_ERROR(check_batch(micro_batches[i], engine_->manifest(), batch_name(i)));
    if (options_.learns_preferences()) PL_RETURN_IF_ERROR(check_pairs(micro_batches[i], batch_name(i)));
    PL_ASSIGN_OR_RETURN(std::vector<StepPass> parts, split_passes(micro_batches[i], limits, batch_name(i), too_long));
    std::move(parts.begin(), parts.end(), std::back_inserter(passes));
  }
  return passes;
}

Result<StepReport> Trainer::compute(const std::vector<BatchView>& micro_batches) {
  PL_ASSIGN_OR_RETURN(const std::vector<StepPass> passes, passes_of(micro_batches));
  StepReport report;
  report.step = state_.step;
  report.skipped_steps = state_.skipped_steps;
  report.passes = static_cast<int64_t>(passes.size());
  for (const StepPass& pass : passes) {
    report.num_tokens += static_cast<int64_t>(pass.tokens.size());
    report.num_labels += count_labels(pass.view());
  }
  if (report.num_labels == 0) {
    return error(PL_INVALID_ARGUMENT, "step %lld: no token of its %zu micro-batches has a label",
                 static_cast<long long>(report.step + 1), micro_batches.size());
  }
  has_gradients_ = false;
  const ComputeScope scope(options_.compute);
  control_.begin_step(blocks_of(passes));
  const Status status = run_passes(passes, &report);
  control_.end_step();
  PL_RETURN_IF_ERROR(status);
  has_gradients_ = report.finite;
  return report;
}

int64_t Trainer::blocks_of(const std::vector<StepPass>& passes) const {
  int64_t walks = 2 * static_cast<int64_t>(passes.size());
  if (options_.learns_preferences()) {
    // The reference of each pass, and for a pair in two passes the policy of the second one before the first.
    const auto half = [](const StepPass& pass) { return pass.segments.size() == 2; };
    walks += static_cast<int64_t>(passes.size()) + std::count_if(passes.begin(), passes.end(), half) / 2;
  }
  return walks * graph_->num_layers();
}

Status Trainer::run_passes(const std::vector<StepPass>& passes, StepReport* report) {
  PL_RETURN_IF_ERROR(options_.learns_preferences() ? run_pairs(passes, report) : run_tokens(passes, report));
  report->grad_norm = report->finite ? gradients_->norm() : std::numeric_limits<double>::quiet_NaN();
  report->finite = report->finite && std::isfinite(report->grad_norm);
  return Status();
}

Status Trainer::run_tokens(const std::vector<StepPass>& passes, StepReport* report) {
  const float weight = 1.0F / static_cast<float>(report->num_labels);
  const auto weighted_nll = [](const PackedRows& rows, const std::vector<float>& logprobs) {
    double loss = 0.0;
    for (size_t i = 0; i < logprobs.size(); ++i) {
      loss -= static_cast<double>(logprobs[i]) * static_cast<double>(rows.weights[i]);
    }
    return loss;
  };
  for (size_t i = 0; i < passes.size() && report->finite; ++i) {
    PL_ASSIGN_OR_RETURN(const double loss, run_pass(passes[i].view(), weight, i, weighted_nll));
    report->loss += loss;
    report->finite = std::isfinite(loss);
  }
  return Status();
}

Dropout Trainer::dropout_of(size_t index) const {
  Dropout dropout;
  dropout.probability = options_.dropout;
  dropout.seed = SplitMix64(options_.seed ^ (static_cast<uint64_t>(state_.step) << 20) ^ index).next();
  return dropout;
}

Result<double> Trainer::run_pass(const BatchView& batch, float weight, size_t index, const PassLoss& pass_loss) {
  const PackedRows rows = pack_for_loss(batch, weight);
  activations_->begin(static_cast<int64_t>(batch.tokens.size()));
  kept_->begin(static_cast<int64_t>(batch.tokens.size()));
  LossPass pass;
  pass.graph = graph_;
  pass.model = &engine_->manifest().model;
  pass.batch = &batch;
  pass.rows = &rows;
  pass.sites = {views_, {}};
  pass.dropout = dropout_of(index);
  pass.rope = rope_.as<float>();
  pass.hidden = [this](int64_t layer) { return activations_->state(layer); };
  pass.before_block = [this](int64_t layer) {
    PL_RETURN_IF_ERROR(at_block());
    return activations_->keep(layer);
  };
  pass.kept = &*kept_;
  pass.grad_hidden = grad_hidden_.as<float>();
  PL_ASSIGN_OR_RETURN(const LossPass::Output output, pass.run());
  const double loss = pass_loss(rows, output.logprobs);
  if (!std::isfinite(loss) || !std::isfinite(output.loss)) return std::numeric_limits<double>::quiet_NaN();
  PL_RETURN_IF_ERROR(run_backward(pass, index == 0));
  return loss;
}

Status Trainer::run_backward(const LossPass& pass, bool first) {
  const Extents dims = pass.extents();
  const size_t bytes = pass.hidden_bytes();
  // The last block's output has served its purpose once the head has run: its place is the second gradient buffer.
  float* incoming = pass.grad_hidden;
  float* outgoing = activations_->spare();
  const SiteBindings sites = {views_, gradients_->target(first)};
  for (int64_t layer = graph_->num_layers() - 1; layer >= 0; --layer) {
    PL_RETURN_IF_ERROR(at_block());
    int64_t seed = 0;
    PL_ASSIGN_OR_RETURN(const float* hidden, activations_->recall(layer));
    std::vector<InputTensor> inputs = {{"hidden", hidden}, {"grad_hidden", incoming}};
    pass.rope_rows().add_inputs(&inputs);
    pass.add_block_inputs(layer, &seed, &inputs);
    const bool kept = kept_->keeps(layer);
    if (kept) kept_->add_inputs(layer, &inputs);
    const char* role = kept ? "backward_kept" : "backward";
    PL_RETURN_IF_ERROR(graph_->run_block(layer, role, dims, sites, inputs, {{"grad_hidden", outgoing, bytes}}));
    if (!first) gradients_->add_layer(layer);
    std::swap(incoming, outgoing);
  }
  return Status();
}

}  // namespace pocketlora
