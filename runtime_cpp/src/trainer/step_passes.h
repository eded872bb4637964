#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "common/result.h"
#include "trainer/packed_batch.h"

namespace pocketlora {

/// What one forward and backward may hold.
struct PassLimits {
  int64_t min_rows = 1, max_rows = 0, max_segments = 0;
  size_t segments_together = 1;  ///< so many belong together: a pass is cut between such groups
};

/// Whole segments of a micro-batch, one after the other. The tokens stay the caller's.
struct StepPass {
  Span<const int64_t> tokens, labels;
  std::vector<int64_t> segments;  ///< offsets, from 0

  BatchView view() const { return {tokens, labels, segments}; }
};

/// Why a segment of so many rows, more than a pass may have, cannot be computed.
using TooLong = std::function<Status(const std::string& segment, int64_t rows)>;

/// SEQUENCE_TOO_LONG: more than the bundle was exported for.
Status too_long_for_bundle(const std::string& segment, int64_t rows, int64_t train_t_max);

/// Cuts a checked micro-batch where the next segments that belong together would not fit any more; those that no pass
/// has room for together become passes of one segment each. @return what too_long says of a segment that no pass can
/// hold. @param where names the batch in messages.
Result<std::vector<StepPass>> split_passes(const BatchView& batch, const PassLimits& limits, const std::string& where,
                                           const TooLong& too_long);

}  // namespace pocketlora
