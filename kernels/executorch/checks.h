#pragma once

#include <executorch/runtime/core/error.h>
#include <executorch/runtime/core/exec_aten/exec_aten.h>

#include <cstdint>
#include <initializer_list>

#include "kernels/q4/q4.h"

namespace pocketlora::boxed {

using executorch::aten::ScalarType;
using executorch::aten::Tensor;
using executorch::runtime::Error;

inline constexpr int64_t kAny = -1;

/**
 * Collects what is wrong with one call. Every finding is logged with the op's name; a check after a failed one still
 * runs, so that all findings are logged at once.
 */
class Checker {
 public:
  explicit Checker(const char* op) : op_(op) {}

  /** Dtype, sizes (kAny = any), dense rows-first order and presence of the data of an input. */
  void tensor(const char* name, const Tensor& value, ScalarType dtype, std::initializer_list<int64_t> sizes);
  void f32(const char* name, const Tensor& value, std::initializer_list<int64_t> sizes) {
    tensor(name, value, ScalarType::Float, sizes);
  }
  void i64(const char* name, const Tensor& value, std::initializer_list<int64_t> sizes) {
    tensor(name, value, ScalarType::Long, sizes);
  }
  void u8(const char* name, const Tensor& value, std::initializer_list<int64_t> sizes) {
    tensor(name, value, ScalarType::Byte, sizes);
  }
  /** A stored 4-bit matrix against its description; what it describes, when it is right. */
  Q4Matrix q4(const Tensor& tiles, int64_t rows, int64_t cols, int64_t quant, int64_t group);

  /** Every value of a checked i64 tensor is in [low, high), or equals `also`. */
  void range(const char* name, const Tensor& value, int64_t low, int64_t high, int64_t also);
  /** Offsets that ascend from 0 to n_rows. */
  void segments(const Tensor& value, int64_t n_rows);

  void expect(bool condition, const char* what);
  /** Resizes a float32 output and checks that it has memory. Does nothing after a failed check. */
  void output(const char* name, Tensor& value, std::initializer_list<int64_t> sizes);

  bool ok() const { return error_ == Error::Ok; }
  Error error() const { return error_; }

 private:
  void fail(Error error) {
    if (error_ == Error::Ok) error_ = error;
  }
  bool same_sizes(const Tensor& value, std::initializer_list<int64_t> sizes) const;

  const char* op_;
  Error error_ = Error::Ok;
};

inline const float* floats(const Tensor& value) { return value.const_data_ptr<float>(); }
inline float* floats(Tensor& value) { return value.mutable_data_ptr<float>(); }
inline const float* floats_or_null(const Tensor* value) { return value != nullptr ? floats(*value) : nullptr; }
inline const uint8_t* bytes(const Tensor& value) { return value.const_data_ptr<uint8_t>(); }
inline const int64_t* longs(const Tensor& value) { return value.const_data_ptr<int64_t>(); }
/** The size of a dimension, or 0 when the tensor has too few. */
inline int64_t size_at(const Tensor& value, int64_t dim) { return dim < value.dim() ? value.size(dim) : 0; }

}  // namespace pocketlora::boxed
