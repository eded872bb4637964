#include "engine/forward_walk.h"

#include <vector>

namespace pocketlora {

Status ForwardWalk::run(const TokenRows& tokens) const {
  std::vector<OutputTensor> embedded = {{"hidden", hidden(0), hidden_bytes}};
  rope.add_outputs(&embedded);
  PL_RETURN_IF_ERROR(graph->run_embed(extents, {{"tokens", tokens.tokens}, {"positions", tokens.positions}}, embedded));
  for (int64_t layer = 0; layer < num_layers; ++layer) {
    if (before_block) PL_RETURN_IF_ERROR(before_block(layer));
    std::vector<InputTensor> inputs = {{"hidden", hidden(layer)}};
    rope.add_inputs(&inputs);
    std::vector<OutputTensor> outputs = {{"hidden", hidden(layer + 1), hidden_bytes}};
    extra(layer, &inputs, &outputs);
    PL_RETURN_IF_ERROR(graph->run_block(layer, role_of ? role_of(layer) : role, extents, sites, inputs, outputs));
    if (after_block) after_block(layer);
  }
  return Status();
}

}  // namespace pocketlora
