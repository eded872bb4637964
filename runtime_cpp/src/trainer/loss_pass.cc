#include "trainer/loss_pass.h"

#include "common/splitmix64.h"

namespace pocketlora {

int64_t Dropout::layer_seed(int64_t layer) const {
  return static_cast<int64_t>(SplitMix64(seed ^ (static_cast<uint64_t>(layer) << 32)).next() & 0xFFFFFFFFU);
}

Extents LossPass::extents() const {
  Extents extents;
  extents.rows = static_cast<int64_t>(batch->tokens.size());
  extents.segments = static_cast<int64_t>(batch->segments.size()) - 1;
  return extents;
}

size_t LossPass::hidden_bytes() const {
  return batch->tokens.size() * static_cast<size_t>(model->hidden_size) * sizeof(float);
}

RopeRows LossPass::rope_rows() const { return {model, rope, static_cast<int64_t>(batch->tokens.size())}; }

void LossPass::add_block_inputs(int64_t layer, int64_t* seed, std::vector<InputTensor>* inputs) const {
  *seed = dropout.layer_seed(layer);
  inputs->push_back({"segments", batch->segments.data()});
  inputs->push_back({"dropout", &dropout.probability});
  inputs->push_back({"seed", seed});
}

Result<LossPass::Output> LossPass::run() const {
  const Extents dims = extents();
  int64_t seed = 0;
  ForwardWalk walk;
  walk.graph = graph;
  walk.num_layers = graph->num_layers();
  const auto keeps = [this](int64_t layer) { return kept != nullptr && kept->keeps(layer); };
  walk.role_of = [&](int64_t layer) { return keeps(layer) ? "forward_keep" : "forward"; };
  walk.extents = dims;
  walk.sites = {sites.views, {}};
  walk.rope = rope_rows();
  walk.hidden_bytes = hidden_bytes();
  walk.hidden = hidden;
  walk.before_block = before_block;
  walk.extra = [&](int64_t layer, std::vector<InputTensor>* inputs, std::vector<OutputTensor>* outputs) {
    add_block_inputs(layer, &seed, inputs);
    if (keeps(layer)) kept->add_outputs(layer, outputs);
  };
  PL_RETURN_IF_ERROR(walk.run({batch->tokens.data(), rows->positions.data()}));

  Output output;
  output.logprobs.resize(batch->tokens.size());
  PL_RETURN_IF_ERROR(graph->run_head(
      dims,
      {{"hidden", hidden(graph->num_layers())}, {"labels", rows->targets.data()}, {"weights", rows->weights.data()}},
      {{"logprobs", output.logprobs.data(), output.logprobs.size() * sizeof(float)},
       {"loss", &output.loss, sizeof(output.loss)},
       {"grad_hidden", grad_hidden, hidden_bytes()}}));
  return output;
}

}  // namespace pocketlora
