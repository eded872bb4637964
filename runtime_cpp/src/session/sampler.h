#pragma once

#include <cstdint>
#include <vector>

#include "common/result.h"
#include "common/span.h"
#include "common/splitmix64.h"

namespace pocketlora {

/// Settings with the names and meanings of transformers' generation config.
struct SamplingOptions {
  float temperature = 0.0F;  ///< 0 = greedy
  float top_p = 1.0F;        ///< 1 = off
  uint64_t seed = 0;
  int64_t top_k = 0;                ///< 0 = off
  float min_p = 0.0F;               ///< 0 = off
  float repetition_penalty = 1.0F;  ///< 1 = off
};

/// Draws tokens from logits. The penalty comes first: the logit of a token that was seen is divided by it when it is
/// positive, multiplied when it is not (arXiv 1909.05858). Greedy then takes the largest logit, the lowest id among
/// equals. Otherwise probabilities are softmax(logits / temperature) in double, and of the tokens by falling
/// probability (lower id first among equals) those are kept that pass every filter, in this order: the first top_k; the
/// fewest of these whose share reaches top_p; those at least min_p times as probable as the first. One number of the
/// generator is used per token.
class Sampler {
 public:
  /// @return INVALID_ARGUMENT unless temperature is finite and at least 0, top_p is in (0, 1], top_k at least 0, min_p
  /// in [0, 1] and repetition_penalty finite and above 0; all problems at once.
  static Result<Sampler> create(const SamplingOptions& options);

  /// @param seen tokens of the context, for the penalty; ids inside the vocabulary.
  /// @return BACKEND_EXECUTION when a logit is not a number or the largest one is not finite.
  Result<int64_t> sample(Span<const float> logits, Span<const int64_t> seen = {});

 private:
  explicit Sampler(const SamplingOptions& options) : options_(options), random_(options.seed) {}
  Span<const float> penalized(Span<const float> logits, Span<const int64_t> seen);
  int64_t draw(Span<const float> logits, float largest);
  int64_t draw_any(double total, double unit) const;
  int64_t draw_kept(double total, double unit);
  bool filtered() const { return options_.top_p < 1.0F || options_.top_k > 0 || options_.min_p > 0.0F; }
  void sort_until(size_t until);

  SamplingOptions options_;
  SplitMix64 random_;
  std::vector<float> penalized_;
  std::vector<double> weights_;
  std::vector<int32_t> order_;  ///< the first sorted_ are the most probable tokens, by falling weight
  size_t sorted_ = 0;
};

}  // namespace pocketlora
