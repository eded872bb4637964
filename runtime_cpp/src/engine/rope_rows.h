#pragma once

#include <cstdint>
#include <vector>

#include "bundle/manifest.h"
#include "engine/stage_graph.h"

namespace pocketlora {

/// The rotary tables of some rows in one buffer: [rows, dim] of each table, one after the other. Embed fills them,
/// blocks read those that they have an input for.
struct RopeRows {
  const ModelFacts* model = nullptr;
  float* data = nullptr;
  int64_t rows = 0;

  /// @param first the row that the block's first one is.
  void add_inputs(std::vector<InputTensor>* inputs, int64_t first = 0) const {
    for_each([inputs, first](const RopeTable& table, float* values, size_t) {
      inputs->push_back({table.name, values + first * table.dim});
    });
  }
  void add_outputs(std::vector<OutputTensor>* outputs) const {
    for_each([outputs](const RopeTable& table, float* values, size_t bytes) {
      outputs->push_back({table.name, values, bytes});
    });
  }

 private:
  template <typename Visit>
  void for_each(const Visit& visit) const {
    float* values = data;
    for (const RopeTable& table : model->rope) {
      visit(table, values, static_cast<size_t>(rows * table.dim) * sizeof(float));
      values += rows * table.dim;
    }
  }
};

}  // namespace pocketlora
