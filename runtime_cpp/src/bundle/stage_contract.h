#pragma once

#include <string>
#include <vector>

#include "bundle/manifest.h"

namespace pocketlora {

/// What docs/stages.md promises about one role of a stage: the tensors that the runtime binds, besides weights and
/// adapters, and how many rows the method must take.
struct StageContract {
  std::vector<TensorSpec> inputs, outputs;
  std::vector<TensorSpec> optional_inputs;  ///< rotary tables: a block has those that it reads
  bool single_row = false;                  ///< the dimension N may be a fixed 1
  bool gradients = false;                   ///< two more outputs for each bound site
  bool keeps = false;                       ///< products as further outputs: float32 [N, columns]
  bool kept = false;                        ///< the same as further inputs
  bool partial = false;                     ///< it reads some of the layer's weights, with the sites of those
  int64_t rows_min = 1, rows_max = 1;
};

/// @param role "embed", "head", "forward", "backward", "forward_keep", "backward_kept", "prefill", "keys" or "decode".
/// @param kind "train" or "infer".
StageContract stage_contract(const Manifest& manifest, const std::string& kind, const std::string& role);

/// Compares a method with what its role needs. @param where starts each problem.
void check_contract(const MethodSpec& method, const StageContract& contract, const std::string& where,
                    ProblemList* problems);

}  // namespace pocketlora
