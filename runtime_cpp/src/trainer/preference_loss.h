#pragma once

#include <cstdint>

#include "common/result.h"

namespace pocketlora {

/// Direct preference optimization (Rafailov et al., 2023); with label smoothing its conservative form (Mitchell, 2023).
/// TRL's loss_type "sigmoid".
struct PreferenceOptions {
  float beta = 0.1F;
  float label_smoothing = 0.0F;  ///< the probability that a pair's answers are the wrong way round, below 1/2

  void check(ProblemList* problems) const;
};

/// Log-probabilities of a pair's answers: sums over their labelled tokens.
struct PairLogprobs {
  double chosen = 0.0, rejected = 0.0;                      ///< by the policy
  double reference_chosen = 0.0, reference_rejected = 0.0;  ///< by the frozen reference
};

struct PairLoss {
  double loss = 0.0;
  /// d loss / d (log-probability of the chosen answer); that of the rejected one is its negative.
  double slope = 0.0;
  double chosen_reward = 0.0, rejected_reward = 0.0;  ///< beta × (policy − reference)
};

PairLoss preference_loss(const PreferenceOptions& options, const PairLogprobs& pair);

/// Means over pairs.
struct Rewards {
  int64_t num_pairs = 0;
  double chosen = 0.0, rejected = 0.0, margin = 0.0;
  double accuracy = 0.0;  ///< the share of pairs whose chosen answer has the larger reward
};

/// Sums pairs up to their mean loss and rewards.
class RewardSums {
 public:
  void add(const PairLoss& pair);
  /// Of what was added. Zeros without any.
  double loss() const;
  Rewards rewards() const;

 private:
  int64_t num_pairs_ = 0, num_right_ = 0;
  double loss_ = 0.0, chosen_ = 0.0, rejected_ = 0.0;
};

}  // namespace pocketlora
