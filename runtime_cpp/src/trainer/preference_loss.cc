#include "trainer/preference_loss.h"

#include <algorithm>
#include <cmath>

#include "optim/optimizer.h"

namespace pocketlora {
namespace {

/// log σ(x) without overflow.
double log_sigmoid(double x) { return std::min(x, 0.0) - std::log1p(std::exp(-std::abs(x))); }

double sigmoid(double x) { return std::exp(log_sigmoid(x)); }

}  // namespace

void PreferenceOptions::check(ProblemList* problems) const {
  if (!(std::isfinite(beta) && beta > 0.0F)) {
    problems->addf("beta: expected a finite number above 0, found %g", static_cast<double>(beta));
  }
  if (!(label_smoothing >= 0.0F && label_smoothing < 0.5F)) {
    problems->addf("label_smoothing: expected at least 0 and less than 0.5, found %g",
                   static_cast<double>(label_smoothing));
  }
}

PairLoss preference_loss(const PreferenceOptions& options, const PairLogprobs& pair) {
  const double beta = as_written(options.beta);
  const double smoothing = as_written(options.label_smoothing);
  PairLoss found;
  found.chosen_reward = beta * (pair.chosen - pair.reference_chosen);
  found.rejected_reward = beta * (pair.rejected - pair.reference_rejected);
  const double margin = beta * ((pair.chosen - pair.rejected) - (pair.reference_chosen - pair.reference_rejected));
  found.loss = -(1.0 - smoothing) * log_sigmoid(margin) - smoothing * log_sigmoid(-margin);
  found.slope = beta * (smoothing * sigmoid(margin) - (1.0 - smoothing) * sigmoid(-margin));
  return found;
}

void RewardSums::add(const PairLoss& pair) {
  ++num_pairs_;
  num_right_ += pair.chosen_reward > pair.rejected_reward ? 1 : 0;
  loss_ += pair.loss;
  chosen_ += pair.chosen_reward;
  rejected_ += pair.rejected_reward;
}

double RewardSums::loss() const { return num_pairs_ == 0 ? 0.0 : loss_ / static_cast<double>(num_pairs_); }

Rewards RewardSums::rewards() const {
  Rewards means;
  if (num_pairs_ == 0) return means;
  const auto count = static_cast<double>(num_pairs_);
  means.num_pairs = num_pairs_;
  means.chosen = chosen_ / count;
  means.rejected = rejected_ / count;
  means.margin = (chosen_ - rejected_) / count;
  means.accuracy = static_cast<double>(num_right_) / count;
  return means;
}

}  // namespace pocketlora
