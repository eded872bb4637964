#include "engine/method_check.h"

#include <algorithm>

#include "engine/extents.h"
#include "engine/scalar_type.h"

namespace pocketlora {
namespace {

using executorch::runtime::TensorInfo;

std::string shape_text(const TensorInfo& info) {
  std::vector<Dim> dims;
  for (const int32_t size : info.sizes()) dims.push_back({Dim::Kind::kFixed, size});
  return pocketlora::shape_text(dims);
}

bool same_shape(const TensorInfo& info, const std::vector<Dim>& expected) {
  if (info.sizes().size() != expected.size() || expected.size() > ConcreteShape::kMaxRank) return false;
  for (size_t i = 0; i < expected.size(); ++i) {
    if (expected[i].kind == Dim::Kind::kFixed && info.sizes()[i] != expected[i].size) return false;
  }
  return true;
}

void check_tensor(const executorch::runtime::Result<TensorInfo>& info, const TensorSpec& spec, const std::string& where,
                  ProblemList* problems) {
  if (!info.ok()) return problems->add(where + ": expected a tensor");
  if (info->scalar_type() != scalar_type(spec.dtype)) {
    problems->add(where + ": expected " + dtype_name(spec.dtype) + ", found ExecuTorch type " +
                  std::to_string(static_cast<int>(info->scalar_type())));
  }
  if (!same_shape(*info, spec.shape)) {
    problems->add(where + ": expected shape " + pocketlora::shape_text(spec.shape) + ", found " + shape_text(*info));
  }
  if (info->is_memory_planned())
    problems->add(where + ": is memory-planned, so a caller's pointer cannot be used in place");
}

void check_delegates(const executorch::runtime::MethodMeta& meta, const MethodSpec& spec,
                     const std::vector<std::string>& delegates, ProblemList* problems) {
  for (size_t i = 0; i < meta.num_backends(); ++i) {
    const auto name = meta.get_backend_name(i);
    const std::string found = name.ok() ? *name : "?";
    if (std::find(delegates.begin(), delegates.end(), found) == delegates.end()) {
      problems->add(spec.name + " calls the delegate " + found + ", which is not listed");
    }
  }
}

}  // namespace

void check_method(const executorch::runtime::MethodMeta& meta, const MethodSpec& spec,
                  const std::vector<std::string>& delegates, ProblemList* problems) {
  check_delegates(meta, spec, delegates, problems);
  if (meta.num_inputs() != spec.inputs.size()) {
    return problems->addf("%s: expected %zu inputs, found %zu", spec.name.c_str(), spec.inputs.size(),
                          meta.num_inputs());
  }
  if (meta.num_outputs() != spec.outputs.size()) {
    return problems->addf("%s: expected %zu outputs, found %zu", spec.name.c_str(), spec.outputs.size(),
                          meta.num_outputs());
  }
  for (size_t i = 0; i < spec.inputs.size(); ++i) {
    check_tensor(meta.input_tensor_meta(i), spec.inputs[i], spec.name + " input '" + spec.inputs[i].name + "'",
                 problems);
  }
  for (size_t i = 0; i < spec.outputs.size(); ++i) {
    check_tensor(meta.output_tensor_meta(i), spec.outputs[i], spec.name + " output '" + spec.outputs[i].name + "'",
                 problems);
  }
}

}  // namespace pocketlora
