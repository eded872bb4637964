#include "engine/stage.h"

#include <algorithm>
#include <utility>

#include "engine/executorch_log.h"
#include "engine/scalar_type.h"

namespace pocketlora {
namespace {

using executorch::aten::Tensor;
using executorch::aten::TensorImpl;
using executorch::runtime::Error;
using executorch::runtime::EValue;
using executorch::runtime::Method;

// What a tensor without elements is bound to: ExecuTorch refuses a null pointer.
alignas(64) uint8_t empty_tensor[64];

Status failure(const MethodSpec& spec, const std::string& what, Error code, const ExecutorchLog& log) {
  const pl_status status = code == Error::MemoryAllocationFailed ? PL_OUT_OF_MEMORY : PL_BACKEND_EXECUTION;
  return error(status, "method %s: %s failed (%s): %s", spec.name.c_str(), what.c_str(),
               executorch::runtime::to_string(code), log.errors().c_str());
}

/// A method that does not load names an operator or a delegate that this build does not have, when memory is not the
/// reason.
Status load_failure(const MethodSpec& spec, Error code, const ExecutorchLog& log) {
  const pl_status status = code == Error::MemoryAllocationFailed ? PL_OUT_OF_MEMORY : PL_BACKEND_MISSING;
  return error(status, "method %s cannot be loaded (%s): %s", spec.name.c_str(), executorch::runtime::to_string(code),
               log.errors().c_str());
}

}  // namespace

void* Stage::CountingAllocator::allocate(size_t size, size_t alignment) {
  bytes_ += static_cast<int64_t>(size);
  return MallocMemoryAllocator::allocate(size, alignment);
}

Result<std::unique_ptr<Stage>> Stage::load(const executorch::runtime::Program& program, const MethodSpec& spec,
                                           const std::vector<executorch::runtime::Span<uint8_t>>& arena,
                                           executorch::runtime::MemoryAllocator* temporary, MemoryAccount* account) {
  std::unique_ptr<Stage> stage(new Stage(spec));
  stage->spans_ = arena;
  stage->planned_ = std::make_unique<executorch::runtime::HierarchicalAllocator>(
      executorch::runtime::Span<executorch::runtime::Span<uint8_t>>(stage->spans_.data(), stage->spans_.size()));
  stage->manager_ =
      std::make_unique<executorch::runtime::MemoryManager>(&stage->allocator_, stage->planned_.get(), temporary);
  const ExecutorchLog log;
  auto method = program.load_method(spec.name.c_str(), stage->manager_.get());
  if (!method.ok()) return load_failure(spec, method.error(), log);
  stage->method_ = std::make_unique<Method>(std::move(*method));
  for (size_t i = 0; i < spec.outputs.size(); ++i) {
    const auto info = stage->method_->method_meta().output_tensor_meta(i);
    if (!info.ok()) return failure(spec, "reading its outputs", info.error(), log);
    stage->capacities_.push_back(info->nbytes());
  }
  stage->inputs_.assign(spec.inputs.size(), false);
  stage->outputs_.assign(spec.outputs.size(), false);
  stage->expected_.resize(spec.outputs.size());
  stage->charge_ = MemoryCharge(account, MemoryPart::kOther, stage->allocator_.bytes());
  return stage;
}

Status Stage::set_input(size_t index, const void* data, const Extents& extents) {
  const InputSpec& input = spec_.inputs[index];
  ConcreteShape shape = concrete_shape(input.shape, extents);
  static uint8_t dim_order[ConcreteShape::kMaxRank] = {0, 1, 2, 3};
  int32_t strides[ConcreteShape::kMaxRank] = {};
  int32_t stride = 1;
  for (size_t i = shape.rank; i-- > 0;) {
    strides[i] = stride;
    stride *= std::max(shape.sizes[i], 1);
  }
  const bool empty = shape.numel() == 0;
  if (!empty && data == nullptr) {
    return error(PL_INTERNAL, "method %s: input '%s' is bound to nothing", spec_.name.c_str(), input.name.c_str());
  }
  TensorImpl impl(scalar_type(input.dtype), static_cast<ssize_t>(shape.rank), shape.sizes.data(),
                  empty ? empty_tensor : const_cast<void*>(data), dim_order, strides);
  const ExecutorchLog log;
  const Error code = method_->set_input(EValue(Tensor(&impl)), index);
  if (code != Error::Ok) return failure(spec_, "binding input '" + input.name + "'", code, log);
  inputs_[index] = true;
  return Status();
}

Status Stage::set_output(size_t index, void* data, size_t bytes, const Extents& extents) {
  const TensorSpec& output = spec_.outputs[index];
  const ConcreteShape shape = concrete_shape(output.shape, extents);
  const size_t needed = shape.numel() * dtype_size(output.dtype);
  if (bytes < needed || (needed > 0 && data == nullptr)) {
    return error(PL_INTERNAL, "method %s: output '%s' needs %zu bytes, its buffer has %zu", spec_.name.c_str(),
                 output.name.c_str(), needed, data == nullptr ? 0 : bytes);
  }
  // ExecuTorch asks for room for the largest N; only the rows of this call are written, and execute() checks that.
  const ExecutorchLog log;
  const Error code =
      method_->set_output_data_ptr(needed == 0 ? empty_tensor : data, std::max(needed, capacities_[index]), index);
  if (code != Error::Ok) return failure(spec_, "binding output '" + output.name + "'", code, log);
  expected_[index] = shape;
  outputs_[index] = true;
  return Status();
}

Status Stage::check_bound() const {
  ProblemList problems;
  for (size_t i = 0; i < inputs_.size(); ++i) {
    if (!inputs_[i]) problems.add("input '" + spec_.inputs[i].name + "' is not bound");
  }
  for (size_t i = 0; i < outputs_.size(); ++i) {
    if (!outputs_[i]) problems.add("output '" + spec_.outputs[i].name + "' is not bound");
  }
  return problems.to_status(PL_INTERNAL, "method " + spec_.name + " cannot run:");
}

Status Stage::check_output_shapes() const {
  for (size_t i = 0; i < expected_.size(); ++i) {
    const Tensor tensor = method_->get_output(i).toTensor();
    const auto sizes = tensor.sizes();
    const bool same =
        sizes.size() == expected_[i].rank && std::equal(sizes.begin(), sizes.end(), expected_[i].sizes.begin());
    if (!same) {
      return error(PL_BACKEND_EXECUTION, "method %s: output '%s' has another shape than %s promises",
                   spec_.name.c_str(), spec_.outputs[i].name.c_str(), shape_text(spec_.outputs[i].shape).c_str());
    }
  }
  return Status();
}

Status Stage::execute() {
  PL_RETURN_IF_ERROR(check_bound());
  const ExecutorchLog log;
  const Error code = method_->execute();
  std::fill(inputs_.begin(), inputs_.end(), false);
  std::fill(outputs_.begin(), outputs_.end(), false);
  if (code != Error::Ok) return failure(spec_, "execution", code, log);
  return check_output_shapes();
}

}  // namespace pocketlora
