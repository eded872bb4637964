#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "engine/rope_rows.h"
#include "engine/stage_graph.h"

namespace pocketlora {

/// Token rows that go through embed and all blocks.
struct TokenRows {
  const int64_t* tokens;     ///< [rows]
  const int64_t* positions;  ///< [rows]
};

/// The forward walk, embed → block × L, the same for training, evaluation, prefill and decode.
struct ForwardWalk {
  StageGraph* graph;
  int64_t num_layers;  ///< from the first one on; those behind them are the caller's
  std::string role;    ///< of the blocks: "forward", "prefill" or "decode"
  /// The role of a block, where blocks differ; may be empty.
  std::function<std::string(int64_t layer)> role_of;
  Extents extents;
  SiteBindings sites;
  RopeRows rope;        ///< filled by embed, read by the blocks (and by the backward)
  size_t hidden_bytes;  ///< of each buffer of `hidden`: rows of this call only
  /// The hidden state that block `layer` reads; layer = L is the last block's output. Neighbours must not overlap.
  std::function<float*(int64_t layer)> hidden;
  /// Adds what else the blocks of this role need (segments and dropout, or the cache and its new rows).
  std::function<void(int64_t layer, std::vector<InputTensor>* inputs, std::vector<OutputTensor>* outputs)> extra;
  /// Called when a block has run; may be empty.
  std::function<void(int64_t layer)> after_block;
  /// Called before each block, its input being there; a failure ends the walk. May be empty.
  std::function<Status(int64_t layer)> before_block;

  Status run(const TokenRows& tokens) const;
};

}  // namespace pocketlora
