// Trainer's preference pairs: the policy against the reference, and the gradient of the preference loss.
//
// The head's gradient is linear in the weight of a row. It is taken with weight 1, and once a pass's log-probabilities
// have said what the loss is, each answer's rows are multiplied by the loss's derivative: one forward is enough.

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "engine/charged_adapter.h"
#include "store/sha256.h"
#include "trainer/evaluate.h"
#include "trainer/scoring.h"
#include "trainer/trainer.h"

namespace pocketlora {

/// Forward passes of the reference and, for a pair in two passes, of the policy.
struct PairScoring {
  ScoringPass reference, policy;
  double pairs = 0.0;  ///< of the step
};

namespace {

/// Of everything that the adapter computes with.
std::string matrices_sha256(const Adapter& adapter) {
  Sha256 hash;
  const AdapterLayout& layout = adapter.layout();
  const auto add = [&hash](const void* data, int64_t bytes) {
    hash.update(ByteSpan(static_cast<const uint8_t*>(data), static_cast<size_t>(bytes)));
  };
  for (size_t s = 0; s < layout.sites.size(); ++s) {
    const AdapterSiteView site = adapter.site(s);
    const int64_t row = site.rank * static_cast<int64_t>(sizeof(float));
    add(&site.rank, sizeof(site.rank));
    if (site.rank == 0) continue;
    add(site.a, row * layout.sites[s].in_features);
    add(site.b, row * layout.sites[s].out_features);
    add(site.scale, row);
  }
  return hash.finish_hex();
}

}  // namespace

Status Trainer::take_reference(const Adapter::Pointer& init) {
  if (!options_.learns_preferences() || init == nullptr) return Status();
  reference_ = init;
  reference_sha256_ = matrices_sha256(*init);
  if (init->shared_layout() == engine_->layout()) return Status();
  // Of another engine: a copy, so that this one's account has it.
  PL_ASSIGN_OR_RETURN(AdapterTensors tensors, init->clone_tensors());
  std::shared_ptr<Adapter> copy = Adapter::from_tensors(engine_->layout(), init->config(), std::move(tensors));
  reference_ = charge_adapter(engine_, std::move(copy));
  return Status();
}

Result<AdapterSet> Trainer::reference_set() const {
  std::vector<WeightedAdapter> adapters;
  if (reference_ != nullptr) adapters.push_back({reference_, 1.0F});
  return AdapterSet::combine(engine_->layout(), std::move(adapters));
}

void Trainer::scale_gradient(const BatchView& batch, size_t segment, double factor) {
  const int64_t hidden = engine_->manifest().model.hidden_size;
  auto* const rows = grad_hidden_.as<float>();
  const auto multiply = [factor](float value) { return static_cast<float>(factor) * value; };
  std::transform(rows + batch.segments[segment] * hidden, rows + batch.segments[segment + 1] * hidden,
                 rows + batch.segments[segment] * hidden, multiply);
}

Status Trainer::run_pairs(const std::vector<StepPass>& passes, StepReport* report) {
  size_t rows = 0, segments = 0;
  for (const StepPass& pass : passes) {
    rows = std::max(rows, pass.tokens.size());
    segments += pass.segments.size() - 1;
  }
  const ModelFacts& model = engine_->manifest().model;
  PL_ASSIGN_OR_RETURN(const ScoringBuffers buffers,
                      ScoringBuffers::reserve(model, static_cast<int64_t>(rows), &engine_->account()));
  PL_ASSIGN_OR_RETURN(const AdapterSet reference, reference_set());
  const auto before_block = [this](int64_t) { return at_block(); };
  PairScoring scoring;
  scoring.reference = {engine_.get(), graph_, &buffers, reference.sites(), {}, before_block};
  scoring.policy = {engine_.get(), graph_, &buffers, views_, {}, before_block};
  scoring.pairs = static_cast<double>(segments / 2);
  RewardSums sums;
  for (size_t i = 0; i < passes.size() && report->finite;) {
    const bool divided = passes[i].segments.size() == 2;
    PL_ASSIGN_OR_RETURN(const double loss, divided ? run_divided_pair(scoring, passes, i, &sums)
                                                   : run_whole_pairs(scoring, passes[i], i, &sums));
    report->finite = std::isfinite(loss);
    i += divided ? 2 : 1;
  }
  report->loss = sums.loss();
  report->rewards = sums.rewards();
  return Status();
}

Result<double> Trainer::run_whole_pairs(const PairScoring& scoring, const StepPass& pass, size_t index,
                                        RewardSums* sums) {
  const BatchView batch = pass.view();
  PL_ASSIGN_OR_RETURN(const std::vector<float> by_row, scoring.reference.run(batch));
  const std::vector<double> reference = sums_by_segment(batch, by_row);
  const auto pass_loss = [&](const PackedRows&, const std::vector<float>& logprobs) {
    const std::vector<double> policy = sums_by_segment(batch, logprobs);
    double loss = 0.0;
    for (size_t s = 0; s < policy.size(); s += 2) {
      const PairLoss pair =
          preference_loss(options_.preference, {policy[s], policy[s + 1], reference[s], reference[s + 1]});
      sums->add(pair);
      loss += pair.loss;
      scale_gradient(batch, s, -pair.slope / scoring.pairs);
      scale_gradient(batch, s + 1, pair.slope / scoring.pairs);
    }
    return loss;
  };
  return run_pass(batch, 1.0F, index, pass_loss);
}

Result<double> Trainer::run_divided_pair(const PairScoring& scoring, const std::vector<StepPass>& passes, size_t first,
                                         RewardSums* sums) {
  const BatchView chosen = passes[first].view(), rejected = passes[first + 1].view();
  PairLogprobs pair;
  PL_ASSIGN_OR_RETURN(std::vector<float> by_row, scoring.reference.run(chosen));
  pair.reference_chosen = sums_by_segment(chosen, by_row)[0];
  PL_ASSIGN_OR_RETURN(by_row, scoring.reference.run(rejected));
  pair.reference_rejected = sums_by_segment(rejected, by_row)[0];
  // The rejected answer's share of the loss must be known before the chosen one's backward: with the mask of its pass.
  ScoringPass policy = scoring.policy;
  policy.dropout = dropout_of(first + 1);
  PL_ASSIGN_OR_RETURN(by_row, policy.run(rejected));
  pair.rejected = sums_by_segment(rejected, by_row)[0];
  PairLoss found;
  const auto chosen_loss = [&](const PackedRows&, const std::vector<float>& logprobs) {
    pair.chosen = sums_by_segment(chosen, logprobs)[0];
    found = preference_loss(options_.preference, pair);
    sums->add(found);
    scale_gradient(chosen, 0, -found.slope / scoring.pairs);
    return found.loss;
  };
  PL_ASSIGN_OR_RETURN(const double loss, run_pass(chosen, 1.0F, first, chosen_loss));
  if (!std::isfinite(loss)) return loss;
  const auto rejected_loss = [&](const PackedRows&, const std::vector<float>&) {
    scale_gradient(rejected, 0, found.slope / scoring.pairs);
    return found.loss;
  };
  return run_pass(rejected, 1.0F, first + 1, rejected_loss);
}

Result<ValidationReport> Trainer::validate_pairs(const std::vector<BatchView>& batches) {
  ValidationReport report;
  RewardSums sums;
  std::vector<WeightedAdapter> reference;
  if (reference_ != nullptr) reference.push_back({reference_, 1.0F});
  for (size_t i = 0; i < batches.size(); ++i) {
    const std::string name = "batch " + std::to_string(i);
    PL_RETURN_IF_ERROR(check_batch(batches[i], engine_->manifest(), name));
    PL_RETURN_IF_ERROR(check_pairs(batches[i], name));
    PL_ASSIGN_OR_RETURN(const EvalReport policy, evaluate(engine_.get(), {{adapter_, 1.0F}}, batches[i], {}));
    PL_ASSIGN_OR_RETURN(const EvalReport frozen, evaluate(engine_.get(), reference, batches[i], {}));
    const std::vector<double>&p = policy.segment_logprobs, &r = frozen.segment_logprobs;
    for (size_t s = 0; s < p.size(); s += 2) {
      sums.add(preference_loss(options_.preference, {p[s], p[s + 1], r[s], r[s + 1]}));
    }
    report.num_labels += policy.num_labels;
  }
  report.loss = sums.loss();
  report.rewards = sums.rewards();
  return report;
}

}  // namespace pocketlora
