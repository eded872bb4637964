#pragma once

#include <executorch/runtime/core/evalue.h>
#include <executorch/runtime/kernel/kernel_runtime_context.h>
#include <executorch/runtime/kernel/operator_registry.h>
#include <gtest/gtest.h>

#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "kernels/executorch/register.h"

/// How the tests call a registered op.
namespace pocketlora::test {

using executorch::aten::SizesType;
using executorch::aten::Tensor;
using executorch::runtime::Error;
using executorch::runtime::EValue;

/** Builds the stack of one call and runs it as a loaded program would. */
class Call {
 public:
  explicit Call(const char* op) : op_(std::string("pocketlora::") + op + ".out") {}

  Call& floats(std::vector<SizesType> sizes, std::vector<float> values) {
    return tensor(executorch::aten::ScalarType::Float, std::move(sizes), values);
  }
  Call& longs(std::vector<SizesType> sizes, std::vector<int64_t> values) {
    return tensor(executorch::aten::ScalarType::Long, std::move(sizes), values);
  }
  Call& bytes(std::vector<SizesType> sizes, std::vector<uint8_t> values) {
    return tensor(executorch::aten::ScalarType::Byte, std::move(sizes), values);
  }
  Call& zeros(std::vector<SizesType> sizes) {
    const size_t n = numel(sizes);
    return floats(std::move(sizes), std::vector<float>(n));
  }
  Call& integer(int64_t value) { return add(EValue(value)); }
  Call& real(double value) { return add(EValue(value)); }
  Call& boolean(bool value) { return add(EValue(value)); }
  Call& none() { return add(EValue()); }
  /** A tensor of those sizes at most, not bound to memory yet when `bound` is false. */
  Call& output(std::vector<SizesType> sizes, bool bound = true) {
    outputs_.push_back(values_.size());
    zeros(std::move(sizes));
    if (!bound) impls_.back().set_data(nullptr);
    return *this;
  }

  Error run() {
    EXPECT_TRUE(register_pocketlora_ops());
    const auto function = executorch::runtime::get_op_function_from_registry(op_.c_str());
    EXPECT_TRUE(function.ok()) << op_;
    if (!function.ok()) return function.error();
    std::vector<EValue*> stack;
    for (EValue& value : values_) stack.push_back(&value);
    stack.push_back(stack[outputs_.front()]);  // the returned value
    executorch::runtime::KernelRuntimeContext context;
    (*function)(context, {stack.data(), stack.size()});
    return context.failure_state();
  }

  const Tensor& out(size_t i = 0) { return values_[outputs_[i]].toTensor(); }
  std::vector<float> result(size_t i = 0) {
    const float* data = out(i).const_data_ptr<float>();
    return std::vector<float>(data, data + out(i).numel());
  }

 private:
  static size_t numel(const std::vector<SizesType>& sizes) {
    size_t n = 1;
    for (const SizesType size : sizes) n *= static_cast<size_t>(size);
    return n;
  }

  Call& add(EValue value) {
    values_.push_back(std::move(value));
    return *this;
  }

  template <class T>
  Call& tensor(executorch::aten::ScalarType dtype, std::vector<SizesType> sizes, const std::vector<T>& values) {
    EXPECT_EQ(values.size(), numel(sizes)) << op_;
    const auto* raw = reinterpret_cast<const uint8_t*>(values.data());
    data_.emplace_back(raw, raw + values.size() * sizeof(T));
    sizes_.push_back(std::move(sizes));
    const std::vector<SizesType>& kept = sizes_.back();
    order_.emplace_back();
    strides_.emplace_back(kept.size(), 1);
    for (size_t d = 0; d < kept.size(); ++d) order_.back().push_back(static_cast<executorch::aten::DimOrderType>(d));
    for (size_t d = kept.size(); d-- > 1;) strides_.back()[d - 1] = strides_.back()[d] * kept[d];
    impls_.emplace_back(dtype, static_cast<ssize_t>(kept.size()), sizes_.back().data(), data_.back().data(),
                        order_.back().data(), strides_.back().data(),
                        executorch::runtime::TensorShapeDynamism::DYNAMIC_BOUND);
    return add(EValue(Tensor(&impls_.back())));
  }

  std::string op_;
  std::deque<std::vector<uint8_t>> data_;
  std::deque<std::vector<SizesType>> sizes_;
  std::deque<std::vector<executorch::aten::DimOrderType>> order_;
  std::deque<std::vector<executorch::aten::StridesType>> strides_;
  std::deque<executorch::aten::TensorImpl> impls_;
  std::deque<EValue> values_;
  std::vector<size_t> outputs_;
};

}  // namespace pocketlora::test
