#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "adapters/adapter_set.h"
#include "common/result.h"
#include "engine/engine.h"
#include "trainer/packed_batch.h"

namespace pocketlora {

struct EvalReport {
  double sum_nll = 0.0;  ///< over unmasked tokens
  int64_t num_labels = 0, num_tokens = 0;
  std::vector<double> segment_logprobs;  ///< of each segment, the sum over its unmasked tokens
  double seconds = 0.0;
};

/// Forward only. @param logprobs empty, or one per token: its log-probability given those before it in its segment, NaN
/// for the first.
Result<EvalReport> evaluate(Engine* engine, std::vector<WeightedAdapter> adapters, const BatchView& batch,
                            Span<float> logprobs);

}  // namespace pocketlora
