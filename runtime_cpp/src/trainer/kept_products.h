#pragma once

#include <cstdint>
#include <vector>

#include "common/result.h"
#include "engine/memory_account.h"
#include "engine/stage_graph.h"

namespace pocketlora {

/// The first products of the MLP (gate and up) of the last blocks, in one pass: written by the forward walk, read by
/// the backward walk, which then computes none of them again. fp32, where the blocks write and read them. The last
/// blocks, because theirs are needed for the shortest time. For one thread at a time.
class KeptProducts {
 public:
  /// @param graph of training; outlives this. @param blocks how many keep theirs.
  static Result<KeptProducts> create(const StageGraph& graph, int64_t blocks, int64_t max_rows, MemoryAccount* account);
  /// Of the last `blocks` blocks. @param columns of each block's products.
  static int64_t bytes_of(const std::vector<int64_t>& columns, int64_t blocks, int64_t rows);

  /// Starts a pass of at most max_rows rows.
  void begin(int64_t rows) { rows_ = rows; }
  bool keeps(int64_t layer) const { return layer >= first_; }
  /// Of a layer that keeps them.
  void add_outputs(int64_t layer, std::vector<OutputTensor>* outputs) const;
  void add_inputs(int64_t layer, std::vector<InputTensor>* inputs) const;

 private:
  KeptProducts(const StageGraph& graph, int64_t first) : graph_(&graph), first_(first) {}
  /// @return where each product of a layer lies.
  std::vector<OutputTensor> places(int64_t layer) const;

  const StageGraph* graph_;
  int64_t first_ = 0;  ///< layer that keeps its products
  int64_t rows_ = 0;
  std::vector<int64_t> before_;  ///< columns of the kept products before those of layer first_ + i
  ReservedBuffer values_;
};

}  // namespace pocketlora
