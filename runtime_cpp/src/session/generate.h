#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "common/result.h"
#include "common/span.h"
#include "session/sampler.h"
#include "session/session.h"

namespace pocketlora {

enum class StopReason { kLength = 0, kStopToken = 1, kCallback = 2 };

struct GenerateOptions {
  int64_t max_new_tokens = 128;
  SamplingOptions sampling;
  std::vector<int64_t> stop_tokens;
};

struct GenerateReport {
  int64_t prompt_tokens = 0, new_tokens = 0;
  double prefill_seconds = 0.0, decode_seconds = 0.0;
  StopReason stop_reason = StopReason::kLength;
};

/// Called for each new token, already part of the session; may replace the session's adapters. @return whether to go
/// on.
using TokenSink = std::function<bool(int64_t token)>;

/// Prefills the prompt and generates until a stop token, the limit, the end of the context, or the sink says so.
Result<GenerateReport> generate(Session* session, Span<const int64_t> prompt, const GenerateOptions& options,
                                const TokenSink& sink);

}  // namespace pocketlora
