#include "engine/forward_walk.h"

#include <algorithm>

namespace pocketlora {
namespace {

/// Runs embed. A program may promise at least t_min rows: fewer are padded with copies of the last one into buffers of
/// its own.
Status embed(const ForwardWalk& walk, const TokenRows& tokens) {
  const MethodSpec& spec = walk.graph->embed_spec();
  Extents extents = walk.extents;
  if (tokens.rows >= spec.t_min) {
    return walk.graph->run_embed(extents, {{"tokens", tokens.tokens}, {"positions", tokens.positions}},
                                 {{"hidden", walk.hidden(0), walk.hidden_bytes}, {"rope", walk.rope, walk.rope_bytes}});
  }
  extents.rows = spec.t_min;
  const auto padded_rows = static_cast<size_t>(spec.t_min);
  std::vector<int64_t> padded_tokens(padded_rows, tokens.tokens[tokens.rows - 1]);
  std::vector<int64_t> padded_positions(padded_rows, tokens.positions[tokens.rows - 1]);
  std::copy_n(tokens.tokens, tokens.rows, padded_tokens.begin());
  std::copy_n(tokens.positions, tokens.rows, padded_positions.begin());
  const size_t hidden_row = walk.hidden_bytes / sizeof(float) / static_cast<size_t>(tokens.rows);
  const size_t rope_row = walk.rope_bytes / sizeof(float) / static_cast<size_t>(tokens.rows);
  std::vector<float> hidden(hidden_row * padded_rows);
  std::vector<float> rope(rope_row * padded_rows);
  PL_RETURN_IF_ERROR(walk.graph->run_embed(
      extents, {{"tokens", padded_tokens.data()}, {"positions", padded_positions.data()}},
      {{"hidden", hidden.data(), hidden.size() * sizeof(float)}, {"rope", rope.data(), rope.size() * sizeof(float)}}));
  std::copy_n(hidden.begin(), walk.hidden_bytes / sizeof(float), walk.hidden(0));
  std::copy_n(rope.begin(), walk.rope_bytes / sizeof(float), walk.rope);
  return Status();
}

}  // namespace

Status ForwardWalk::run(const TokenRows& tokens) const {
  PL_RETURN_IF_ERROR(embed(*this, tokens));
  for (int64_t layer = 0; layer < graph->num_layers(); ++layer) {
    std::vector<InputTensor> inputs = {{"hidden", hidden(layer)}, {"rope", rope}};
    std::vector<OutputTensor> outputs = {{"hidden", hidden(layer + 1), hidden_bytes}};
    extra(layer, &inputs, &outputs);
    PL_RETURN_IF_ERROR(graph->run_block(layer, role, extents, sites, inputs, outputs));
  }
  return Status();
}

}  // namespace pocketlora
