#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "common/result.h"
#include "engine/engine.h"
#include "trainer/loss_pass.h"
#include "trainer/packed_batch.h"

namespace pocketlora {

/// What a pass without a backward needs: two hidden states and the rotary tables.
struct ScoringBuffers {
  ReservedBuffer hidden[2], rope;

  static Result<ScoringBuffers> reserve(const ModelFacts& model, int64_t rows, MemoryAccount* account);
};

/// One pass without a backward.
struct ScoringPass {
  const Engine* engine;
  StageGraph* graph;
  const ScoringBuffers* buffers;
  Span<const AdapterSiteView> sites;
  Dropout dropout;
  std::function<Status(int64_t layer)> before_block;  ///< may be empty

  /// @return by row, the log-probability of the next token of its segment; of the last row of a segment 0.
  Result<std::vector<float>> run(const BatchView& batch) const;
};

/// The sum of each segment's log-probabilities over its unmasked tokens. @param by_row as ScoringPass gives them.
std::vector<double> sums_by_segment(const BatchView& batch, const std::vector<float>& by_row);

}  // namespace pocketlora
