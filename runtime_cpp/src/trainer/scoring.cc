#include "trainer/scoring.h"

#include <utility>

#include "bundle/checked_size.h"

namespace pocketlora {

Result<ScoringBuffers> ScoringBuffers::reserve(const ModelFacts& model, int64_t rows, MemoryAccount* account) {
  PL_ASSIGN_OR_RETURN(const size_t hidden, bytes_of({rows, model.hidden_size, sizeof(float)}));
  PL_ASSIGN_OR_RETURN(const size_t rope, bytes_of({rows, model.rope_width(), sizeof(float)}));
  ScoringBuffers buffers;
  for (ReservedBuffer& state : buffers.hidden) {
    PL_ASSIGN_OR_RETURN(state, ReservedBuffer::reserve(hidden, account, MemoryPart::kScratch));
  }
  PL_ASSIGN_OR_RETURN(buffers.rope, ReservedBuffer::reserve(rope, account, MemoryPart::kScratch));
  return buffers;
}

Result<std::vector<float>> ScoringPass::run(const BatchView& batch) const {
  const PackedRows rows = pack_for_logprobs(batch);
  LossPass pass;
  pass.graph = graph;
  pass.model = &engine->manifest().model;
  pass.batch = &batch;
  pass.rows = &rows;
  pass.sites = {sites, {}};
  pass.dropout = dropout;
  pass.rope = buffers->rope.as<float>();
  pass.hidden = [this](int64_t layer) { return buffers->hidden[layer % 2].as<float>(); };
  pass.before_block = before_block;
  // The block's input, no longer needed.
  pass.grad_hidden = buffers->hidden[(graph->num_layers() + 1) % 2].as<float>();
  PL_ASSIGN_OR_RETURN(LossPass::Output output, pass.run());
  return std::move(output.logprobs);
}

std::vector<double> sums_by_segment(const BatchView& batch, const std::vector<float>& by_row) {
  std::vector<double> sums;
  for (size_t s = 0; s + 1 < batch.segments.size(); ++s) {
    double sum = 0.0;
    for (auto i = static_cast<size_t>(batch.segments[s]) + 1; i < static_cast<size_t>(batch.segments[s + 1]); ++i) {
      if (batch.labels[i] != kIgnoredLabel) sum += static_cast<double>(by_row[i - 1]);
    }
    sums.push_back(sum);
  }
  return sums;
}

}  // namespace pocketlora
