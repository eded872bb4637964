#pragma once

#include <cstdint>

#include "bundle/checked_size.h"
#include "common/result.h"
#include "engine/memory_account.h"

namespace pocketlora {

/// Keys and values of all layers, fp32 [capacity, row] each. Reserved for the whole context; rows become resident as
/// they are written.
class KvCache {
 public:
  static Result<KvCache> create(int64_t layers, int64_t capacity, int64_t row, MemoryAccount* account) {
    PL_ASSIGN_OR_RETURN(const size_t bytes, bytes_of({2, layers, capacity, row, sizeof(float)}));
    PL_ASSIGN_OR_RETURN(ReservedBuffer buffer, ReservedBuffer::reserve(bytes, account, MemoryPart::kKvCache));
    return KvCache(std::move(buffer), capacity, row);
  }

  int64_t capacity() const { return capacity_; }
  float* keys(int64_t layer) const { return buffer_.as<float>() + 2 * layer * capacity_ * row_; }
  float* values(int64_t layer) const { return keys(layer) + capacity_ * row_; }
  /// First element of row `index` in keys() or values().
  float* at(float* matrix, int64_t index) const { return matrix + index * row_; }
  size_t row_bytes() const { return static_cast<size_t>(row_) * sizeof(float); }

 private:
  KvCache(ReservedBuffer buffer, int64_t capacity, int64_t row)
      : buffer_(std::move(buffer)), capacity_(capacity), row_(row) {}

  ReservedBuffer buffer_;
  int64_t capacity_ = 0, row_ = 0;
};

}  // namespace pocketlora
