#include "bundle/stage_contract.h"

#include <algorithm>

namespace pocketlora {
namespace {

constexpr Dim kRows{Dim::Kind::kRows, 0};
constexpr Dim kSegments{Dim::Kind::kSegments, 0};
constexpr Dim kCache{Dim::Kind::kCache, 0};
constexpr Dim kCacheRow{Dim::Kind::kCacheRow, 0};

Dim fixed(int64_t size) { return {Dim::Kind::kFixed, size}; }

std::vector<TensorSpec> rope_tables(const ModelFacts& model) {
  std::vector<TensorSpec> tables;
  for (const RopeTable& table : model.rope) tables.push_back({table.name, DType::kFloat32, {kRows, fixed(table.dim)}});
  return tables;
}

void train_block(bool backward, const TensorSpec& hidden, StageContract* contract) {
  const TensorSpec grad_hidden{"grad_hidden", DType::kFloat32, hidden.shape};
  contract->inputs = {hidden,
                      {"segments", DType::kInt64, {kSegments}},
                      {"dropout", DType::kFloat32, {fixed(1)}},
                      {"seed", DType::kInt64, {fixed(1)}}};
  if (backward) contract->inputs.push_back(grad_hidden);
  contract->outputs = {backward ? grad_hidden : hidden};
  contract->gradients = backward;
}

void infer_block(bool keys, const ModelFacts& model, const TensorSpec& hidden, StageContract* contract) {
  const Dim row = fixed(model.num_kv_heads * model.head_dim);
  contract->inputs = {hidden};
  contract->outputs = {{"k", DType::kFloat32, {kRows, row}}, {"v", DType::kFloat32, {kRows, row}}};
  contract->partial = keys;
  if (keys) return;
  contract->inputs.insert(contract->inputs.end(), {{"past", DType::kInt64, {fixed(1)}},
                                                   {"k_cache", DType::kUint8, {kCache, kCacheRow}},
                                                   {"v_cache", DType::kUint8, {kCache, kCacheRow}}});
  contract->outputs.insert(contract->outputs.begin(), hidden);
}

void head(bool train, const ModelFacts& model, const TensorSpec& hidden, StageContract* contract) {
  contract->inputs = {hidden};
  if (!train) {
    contract->outputs = {{"logits", DType::kFloat32, {kRows, fixed(model.vocab_size)}}};
    return;
  }
  contract->inputs.push_back({"labels", DType::kInt64, {kRows}});
  contract->inputs.push_back({"weights", DType::kFloat32, {kRows}});
  contract->outputs = {{"logprobs", DType::kFloat32, {kRows}},
                       {"loss", DType::kFloat32, {fixed(1)}},
                       {"grad_hidden", DType::kFloat32, hidden.shape}};
}

bool same_shape(const std::vector<Dim>& found, const std::vector<Dim>& expected, bool single_row) {
  if (found.size() != expected.size()) return false;
  for (size_t i = 0; i < found.size(); ++i) {
    const bool one_for_rows = single_row && expected[i] == kRows && found[i] == fixed(1);
    if (!one_for_rows && !(found[i] == expected[i])) return false;
  }
  return true;
}

std::string text(const TensorSpec& tensor) {
  return std::string(dtype_name(tensor.dtype)) + " " + shape_text(tensor.shape);
}

/// `found` must be the `expected` tensors, and any of the `optional` ones.
void check_tensors(const char* what, const std::vector<TensorSpec>& found, std::vector<TensorSpec> expected,
                   const std::vector<TensorSpec>& optional, bool single_row, const std::string& where,
                   ProblemList* problems) {
  const size_t required = expected.size();
  expected.insert(expected.end(), optional.begin(), optional.end());
  for (size_t i = 0; i < expected.size(); ++i) {
    const TensorSpec& tensor = expected[i];
    const auto named = [&tensor](const TensorSpec& other) { return other.name == tensor.name; };
    const auto count = std::count_if(found.begin(), found.end(), named);
    if (count == 0 && i >= required) continue;
    if (count != 1) {
      problems->addf("%s: expected one %s '%s', found %d", where.c_str(), what, tensor.name.c_str(),
                     static_cast<int>(count));
      continue;
    }
    const TensorSpec& given = *std::find_if(found.begin(), found.end(), named);
    if (given.dtype != tensor.dtype || !same_shape(given.shape, tensor.shape, single_row)) {
      problems->add(where + ": " + what + " '" + tensor.name + "': expected " + text(tensor) + ", found " +
                    text(given));
    }
  }
  for (const TensorSpec& tensor : found) {
    const auto named = [&tensor](const TensorSpec& other) { return other.name == tensor.name; };
    if (std::none_of(expected.begin(), expected.end(), named)) {
      problems->add(where + ": " + what + " '" + tensor.name + "' is not known");
    }
  }
}

void check_products(const std::vector<TensorSpec>& products, const std::string& where, ProblemList* problems) {
  if (products.empty()) problems->add(where + ": expected products to keep, found none");
  for (const TensorSpec& product : products) {
    const std::vector<Dim>& shape = product.shape;
    const bool is_product = shape.size() == 2 && shape[0] == kRows && shape[1].kind == Dim::Kind::kFixed;
    if (product.dtype == DType::kFloat32 && is_product && shape[1].size > 0) continue;
    problems->add(where + ": '" + product.name + "': expected float32 [N, columns], found " + text(product));
  }
}

}  // namespace

StageContract stage_contract(const Manifest& manifest, const std::string& kind, const std::string& role) {
  const ModelFacts& model = manifest.model;
  const Limits& limits = manifest.limits;
  const bool train = kind == "train";
  const TensorSpec hidden{"hidden", DType::kFloat32, {kRows, fixed(model.hidden_size)}};
  StageContract contract;
  contract.rows_min = train ? limits.train_t_min : limits.prefill_t_min;
  contract.rows_max = train ? limits.train_t_max : limits.prefill_t_max;
  if (role == "embed") {
    contract.inputs = {{"tokens", DType::kInt64, {kRows}}, {"positions", DType::kInt64, {kRows}}};
    contract.outputs = rope_tables(model);
    contract.outputs.insert(contract.outputs.begin(), hidden);
    if (!train) contract.rows_min = 1;  // decode embeds with it, too
  } else if (role == "head") {
    head(train, model, hidden, &contract);
  } else {
    contract.optional_inputs = rope_tables(model);
    contract.keeps = role == "forward_keep";
    contract.kept = role == "backward_kept";
    train ? train_block(role == "backward" || contract.kept, hidden, &contract)
          : infer_block(role == "keys", model, hidden, &contract);
  }
  contract.single_row = !train && (role == "decode" || role == "head");
  if (contract.single_row) contract.rows_min = contract.rows_max = 1;
  return contract;
}

void check_contract(const MethodSpec& method, const StageContract& contract, const std::string& where,
                    ProblemList* problems) {
  std::vector<TensorSpec> inputs, outputs, products;
  for (const InputSpec& input : method.inputs) {
    if (input.source != InputSource::kRuntime) continue;
    (contract.kept && is_kept_name(input.name) ? products : inputs).push_back(input);
  }
  for (const TensorSpec& output : method.outputs) {
    if (contract.gradients && is_gradient_name(output.name)) continue;
    (contract.keeps && is_kept_name(output.name) ? products : outputs).push_back(output);
  }
  const std::string at = where + ": " + method.name;
  if (contract.keeps || contract.kept) check_products(products, at, problems);
  check_tensors("input", inputs, contract.inputs, contract.optional_inputs, contract.single_row, at, problems);
  check_tensors("output", outputs, contract.outputs, {}, contract.single_row, at, problems);
  if (method.t_min > contract.rows_min || method.t_max < contract.rows_max) {
    problems->addf("%s takes %lld to %lld rows, its stage must take %lld to %lld", at.c_str(),
                   static_cast<long long>(method.t_min), static_cast<long long>(method.t_max),
                   static_cast<long long>(contract.rows_min), static_cast<long long>(contract.rows_max));
  }
}

}  // namespace pocketlora
