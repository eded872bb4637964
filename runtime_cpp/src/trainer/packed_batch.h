#pragma once

#include <cstdint>
#include <vector>

#include "bundle/manifest.h"
#include "common/result.h"
#include "common/span.h"

namespace pocketlora {

inline constexpr int64_t kIgnoredLabel = -100;

/// A caller's micro-batch: rows of tokens one after the other (docs/stages.md), labels as Hugging Face aligns them.
struct BatchView {
  Span<const int64_t> tokens;
  Span<const int64_t> labels;    ///< one per token: the token itself, or kIgnoredLabel
  Span<const int64_t> segments;  ///< offsets, 0 … tokens
};

/// Every problem of a batch at once, INVALID_ARGUMENT. How much of it fits into one pass is split_passes()' matter.
/// @param where names the batch in the message.
Status check_batch(const BatchView& batch, const Manifest& manifest, const std::string& where);

/// Of a checked batch of preference pairs: segments 2i and 2i + 1 are the chosen and the rejected answer of a pair, and
/// each has a label that counts. All that is wrong at once, INVALID_ARGUMENT.
Status check_pairs(const BatchView& batch, const std::string& where);

/// Unmasked tokens that are predicted from something: the first token of a segment is not.
int64_t count_labels(const BatchView& batch);

/// What the stages are bound to. Row i predicts token i + 1 of its segment; the last row of a segment predicts nothing.
struct PackedRows {
  std::vector<int64_t> positions;  ///< from 0 in each segment
  std::vector<int64_t> targets;    ///< the label that row i predicts, or kIgnoredLabel
  std::vector<float> weights;      ///< of row i in the loss, 0 where nothing is predicted
};

/// @param weight of each unmasked row.
PackedRows pack_for_loss(const BatchView& batch, float weight);

/// Every token of a segment but its first is a target, masked or not, so that each gets its log-probability. Weights
/// are 0.
PackedRows pack_for_logprobs(const BatchView& batch);

}  // namespace pocketlora
