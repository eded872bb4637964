#include "kernels/executorch/checks.h"

#include <executorch/runtime/core/exec_aten/util/dim_order_util.h>
#include <executorch/runtime/core/exec_aten/util/scalar_type_util.h>
#include <executorch/runtime/core/exec_aten/util/tensor_util.h>
#include <executorch/runtime/platform/log.h>

#include <cstdio>

namespace pocketlora::boxed {
namespace {

/** "[4, ?, 16]", cut off when it does not fit. */
struct SizesText {
  char text[96] = "[";

  template <class Sizes>
  explicit SizesText(const Sizes& sizes) {
    size_t used = 1;
    const char* separator = "";
    for (const auto size : sizes) {
      if (used + 24 > sizeof(text)) break;
      const long long value = size;
      used +=
          static_cast<size_t>(value < 0 ? std::snprintf(text + used, sizeof(text) - used, "%s?", separator)
                                        : std::snprintf(text + used, sizeof(text) - used, "%s%lld", separator, value));
      separator = ", ";
    }
    std::snprintf(text + used, sizeof(text) - used, "]");
  }
};

}  // namespace

bool Checker::same_sizes(const Tensor& value, std::initializer_list<int64_t> sizes) const {
  if (value.dim() != static_cast<ssize_t>(sizes.size())) return false;
  ssize_t dim = 0;
  for (const int64_t size : sizes) {
    if (size != kAny && value.size(dim) != size) return false;
    ++dim;
  }
  return true;
}

void Checker::tensor(const char* name, const Tensor& value, ScalarType dtype, std::initializer_list<int64_t> sizes) {
  if (value.scalar_type() != dtype || !same_sizes(value, sizes)) {
    ET_LOG(Error, "pocketlora::%s: %s: expected %s %s, found %s %s", op_, name, executorch::runtime::toString(dtype),
           SizesText(sizes).text, executorch::runtime::toString(value.scalar_type()), SizesText(value.sizes()).text);
    fail(Error::InvalidArgument);
  } else if (!executorch::runtime::is_contiguous_dim_order(value.dim_order().data(), value.dim_order().size())) {
    ET_LOG(Error, "pocketlora::%s: %s: expected dense memory, rows first", op_, name);
    fail(Error::InvalidArgument);
  } else if (value.numel() > 0 && value.const_data_ptr() == nullptr) {
    ET_LOG(Error, "pocketlora::%s: %s is not bound to memory", op_, name);
    fail(Error::InvalidState);
  }
}

Q4Matrix Checker::q4(const Tensor& tiles, int64_t rows, int64_t cols, int64_t quant, int64_t group) {
  const bool known = quant == static_cast<int64_t>(Quant::kNf4) || quant == static_cast<int64_t>(Quant::kInt4);
  if (!known || rows <= 0 || cols <= 0 || (group != 32 && group != 64 && group != 128) ||
      !q4_group_supported(static_cast<Quant>(quant), static_cast<int>(group))) {
    ET_LOG(Error, "pocketlora::%s: no such 4-bit matrix: n %lld, k %lld, quant %lld, group %lld", op_,
           static_cast<long long>(rows), static_cast<long long>(cols), static_cast<long long>(quant),
           static_cast<long long>(group));
    fail(Error::InvalidArgument);
    return Q4Matrix{};
  }
  Q4Matrix matrix{nullptr, rows, cols, static_cast<Quant>(quant), static_cast<int>(group)};
  tensor("w", tiles, ScalarType::Byte, {matrix.row_tiles(), matrix.col_tiles(), matrix.tile_bytes()});
  if (ok()) matrix.tiles = tiles.const_data_ptr<uint8_t>();
  return matrix;
}

void Checker::range(const char* name, const Tensor& value, int64_t low, int64_t high, int64_t also) {
  if (!ok()) return;
  const int64_t* values = longs(value);
  for (int64_t i = 0; i < value.numel(); ++i) {
    if ((values[i] >= low && values[i] < high) || values[i] == also) continue;
    ET_LOG(Error, "pocketlora::%s: %s[%lld]: expected a value in [%lld, %lld), found %lld", op_, name,
           static_cast<long long>(i), static_cast<long long>(low), static_cast<long long>(high),
           static_cast<long long>(values[i]));
    fail(Error::InvalidArgument);
    return;
  }
}

void Checker::segments(const Tensor& value, int64_t n_rows) {
  i64("segments", value, {kAny});
  if (!ok()) return;
  const int64_t *offsets = longs(value), n = value.numel();
  bool ascending = n > 0 && offsets[0] == 0 && offsets[n - 1] == n_rows;
  for (int64_t s = 1; s < n; ++s) ascending = ascending && offsets[s] >= offsets[s - 1];
  if (ascending) return;
  ET_LOG(Error, "pocketlora::%s: segments: expected offsets ascending from 0 to %lld", op_,
         static_cast<long long>(n_rows));
  fail(Error::InvalidArgument);
}

void Checker::expect(bool condition, const char* what) {
  if (condition) return;
  ET_LOG(Error, "pocketlora::%s: expected %s", op_, what);
  fail(Error::InvalidArgument);
}

void Checker::output(const char* name, Tensor& value, std::initializer_list<int64_t> sizes) {
  if (!ok()) return;
  executorch::aten::SizesType wanted[4];
  size_t rank = 0;
  for (const int64_t size : sizes) wanted[rank++] = static_cast<executorch::aten::SizesType>(size);
  const bool is_float = value.scalar_type() == ScalarType::Float;
  if (!is_float || executorch::runtime::resize_tensor(value, {wanted, rank}) != Error::Ok) {
    ET_LOG(Error, "pocketlora::%s: %s: expected room for float32 %s, found %s %s", op_, name, SizesText(sizes).text,
           executorch::runtime::toString(value.scalar_type()), SizesText(value.sizes()).text);
    fail(Error::InvalidArgument);
  } else if (value.numel() > 0 && value.const_data_ptr() == nullptr) {
    ET_LOG(Error, "pocketlora::%s: %s is not bound to memory", op_, name);
    fail(Error::InvalidState);
  }
}

}  // namespace pocketlora::boxed
