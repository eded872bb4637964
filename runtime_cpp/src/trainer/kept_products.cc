#include "trainer/kept_products.h"

#include <numeric>

namespace pocketlora {

int64_t KeptProducts::bytes_of(const std::vector<int64_t>& columns, int64_t blocks, int64_t rows) {
  const int64_t kept = std::accumulate(columns.end() - blocks, columns.end(), int64_t{0});
  return kept * rows * static_cast<int64_t>(sizeof(float));
}

Result<KeptProducts> KeptProducts::create(const StageGraph& graph, int64_t blocks, int64_t max_rows,
                                          MemoryAccount* account) {
  KeptProducts products(graph, graph.num_layers() - blocks);
  if (blocks == 0) return products;
  const std::vector<int64_t> columns = graph.kept_columns();
  const auto bytes = static_cast<size_t>(bytes_of(columns, blocks, max_rows));
  products.before_.push_back(0);
  for (auto width = columns.end() - blocks; width != columns.end(); ++width) {
    products.before_.push_back(products.before_.back() + *width);
  }
  PL_ASSIGN_OR_RETURN(products.values_, ReservedBuffer::reserve(bytes, account, MemoryPart::kBlockInputs));
  return products;
}

std::vector<OutputTensor> KeptProducts::places(int64_t layer) const {
  float* place = values_.as<float>() + rows_ * before_[static_cast<size_t>(layer - first_)];
  std::vector<OutputTensor> products;
  for (const TensorSpec& product : graph_->kept_products(layer)) {
    const int64_t count = rows_ * product.shape.back().size;
    products.push_back({product.name, place, static_cast<size_t>(count) * sizeof(float)});
    place += count;
  }
  return products;
}

void KeptProducts::add_outputs(int64_t layer, std::vector<OutputTensor>* outputs) const {
  for (const OutputTensor& product : places(layer)) outputs->push_back(product);
}

void KeptProducts::add_inputs(int64_t layer, std::vector<InputTensor>* inputs) const {
  for (const OutputTensor& product : places(layer)) inputs->push_back({product.name, product.data});
}

}  // namespace pocketlora
