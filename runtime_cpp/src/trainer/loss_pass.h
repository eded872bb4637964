#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "common/result.h"
#include "engine/engine.h"
#include "engine/forward_walk.h"
#include "trainer/kept_products.h"
#include "trainer/packed_batch.h"

namespace pocketlora {

/// Dropout of the LoRA branch: each layer's mask follows from its own seed.
struct Dropout {
  float probability = 0.0F;
  uint64_t seed = 0;

  int64_t layer_seed(int64_t layer) const;
};

/// The forward half of training and evaluation: embed, blocks, head with loss.
struct LossPass {
  StageGraph* graph;
  const ModelFacts* model;
  const BatchView* batch;
  const PackedRows* rows;
  SiteBindings sites;
  Dropout dropout;
  float* rope;                                  ///< [rows, rope_width]
  std::function<float*(int64_t layer)> hidden;  ///< as in ForwardWalk
  std::function<Status(int64_t layer)> before_block;
  const KeptProducts* kept = nullptr;  ///< of the blocks that keep theirs; null = none does
  float* grad_hidden;                  ///< [rows, hidden]; out: the loss's gradient after the last block

  struct Output {
    std::vector<float> logprobs;  ///< [rows]
    float loss = 0.0F;            ///< Σ weight · nll
  };
  Result<Output> run() const;

  Extents extents() const;
  size_t hidden_bytes() const;
  RopeRows rope_rows() const;
  /// The inputs of a training block besides its hidden state, for one layer.
  void add_block_inputs(int64_t layer, int64_t* seed, std::vector<InputTensor>* inputs) const;
};

}  // namespace pocketlora
