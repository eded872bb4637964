#pragma once

#include <cstdint>
#include <vector>

#include "common/result.h"
#include "common/span.h"
#include "common/splitmix64.h"

namespace pocketlora {

struct SamplingOptions {
  float temperature = 0.0F;  ///< 0 = greedy
  float top_p = 1.0F;        ///< 1 = off
  uint64_t seed = 0;
};

/// Draws tokens from logits. Greedy takes the largest logit, the lowest id among equals. Otherwise probabilities are
/// softmax(logits / temperature) in double; top_p keeps the fewest most probable tokens (lower id first among equals)
/// whose sum reaches it; one number of the generator is used per token.
class Sampler {
 public:
  /// @return INVALID_ARGUMENT unless temperature is finite and at least 0, and top_p is in (0, 1].
  static Result<Sampler> create(const SamplingOptions& options);

  /// @return BACKEND_EXECUTION when a logit is not a number or the largest one is not finite.
  Result<int64_t> sample(Span<const float> logits);

 private:
  explicit Sampler(const SamplingOptions& options) : options_(options), random_(options.seed) {}
  int64_t draw(Span<const float> logits, float largest);
  int64_t draw_nucleus(double total, double unit);

  SamplingOptions options_;
  SplitMix64 random_;
  std::vector<double> weights_;
  std::vector<int32_t> order_;
};

}  // namespace pocketlora
