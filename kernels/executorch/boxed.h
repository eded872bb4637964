#pragma once

#include <executorch/runtime/core/evalue.h>
#include <executorch/runtime/core/exec_aten/exec_aten.h>
#include <executorch/runtime/kernel/kernel_runtime_context.h>
#include <executorch/runtime/platform/log.h>

#include <cstddef>
#include <cstdint>
#include <utility>

/**
 * Calls typed functions from ExecuTorch's stack of values. The stack of an `.out` op is every argument of its schema in
 * order (the out tensors are the last of them), then one more value: the out tensor again, or a list of them when there
 * are several.
 */
namespace pocketlora::boxed {

using executorch::aten::Tensor;
using executorch::runtime::Error;
using executorch::runtime::EValue;
using executorch::runtime::KernelRuntimeContext;
using executorch::runtime::Span;

/** How a parameter type is read from a value: whether the value has that type, and the conversion. */
template <class T>
struct Unpack;

template <>
struct Unpack<Tensor&> {
  static bool matches(const EValue& value) { return value.isTensor(); }
  static Tensor& get(EValue& value) { return value.toTensor(); }
};

template <>
struct Unpack<const Tensor&> : Unpack<Tensor&> {};

/** `Tensor?`: null for None. */
template <>
struct Unpack<const Tensor*> {
  static bool matches(const EValue& value) { return value.isNone() || value.isTensor(); }
  static const Tensor* get(EValue& value) { return value.isNone() ? nullptr : &value.toTensor(); }
};

template <>
struct Unpack<int64_t> {
  static bool matches(const EValue& value) { return value.isInt(); }
  static int64_t get(EValue& value) { return value.toInt(); }
};

template <>
struct Unpack<bool> {
  static bool matches(const EValue& value) { return value.isBool(); }
  static bool get(EValue& value) { return value.toBool(); }
};

/** A float argument given as a whole number is serialized as an integer. */
template <>
struct Unpack<double> {
  static bool matches(const EValue& value) { return value.isDouble() || value.isInt(); }
  static double get(EValue& value) { return value.isDouble() ? value.toDouble() : static_cast<double>(value.toInt()); }
};

template <class... Params, size_t... kIndices>
Error call_unpacked(Error (*function)(Params...), Span<EValue*> stack, std::index_sequence<kIndices...>) {
  if (stack.size() != sizeof...(Params) + 1) {
    ET_LOG(Error, "expected %zu values, found %zu", sizeof...(Params) + 1, stack.size());
    return Error::InvalidProgram;
  }
  if (!(Unpack<Params>::matches(*stack[kIndices]) && ...)) {
    ET_LOG(Error, "a value has not the type of its argument");
    return Error::InvalidProgram;
  }
  return function(Unpack<Params>::get(*stack[kIndices])...);
}

template <class... Params>
Error call_unpacked(Error (*function)(Params...), Span<EValue*> stack) {
  return call_unpacked(function, stack, std::index_sequence_for<Params...>());
}

/** The boxed form of an op's function. */
template <auto function>
void call(KernelRuntimeContext& context, Span<EValue*> stack) {
  const Error error = call_unpacked(function, stack);
  if (error != Error::Ok) context.fail(error);
}

}  // namespace pocketlora::boxed
