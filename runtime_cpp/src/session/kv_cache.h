#pragma once

#include <cstdint>
#include <vector>

#include "common/result.h"
#include "engine/memory_account.h"
#include "kernels/attention/cache.h"

namespace pocketlora {

/// What a cache holds: [capacity] rows of keys and of values for each layer.
struct KvCacheShape {
  CacheFormat format = CacheFormat::kFloat32;
  int64_t capacity = 0, num_heads = 0, head_dim = 0;
  int64_t largest_write = 0;     ///< rows that are written at once at most
  std::vector<int64_t> windows;  ///< by layer: keys that a token sees at most, itself included; 0 = all before it

  int64_t num_layers() const { return static_cast<int64_t>(windows.size()); }
  /// Of one row of keys, or of values, in one layer.
  int64_t row_bytes() const { return num_heads * cache_head_bytes(format, head_dim); }
  /// Of one token's rows in all layers.
  int64_t token_bytes() const { return 2 * num_layers() * row_bytes(); }
  /// Of the pages that are in memory at once at most.
  int64_t most_resident() const;
  /// Of fp32 rows on their way into another format: beside the cache, and inside the kernel.
  int64_t staged_bytes() const;
};

/// Keys and values of all layers. Reserved for the whole context; rows become resident as they are written, and their
/// whole pages are given back when no later token can see them.
class KvCache {
 public:
  static Result<KvCache> create(const KvCacheShape& shape, MemoryAccount* account);

  const KvCacheShape& shape() const { return shape_; }
  const uint8_t* keys(int64_t layer) const { return matrix(2 * layer); }
  const uint8_t* values(int64_t layer) const { return matrix(2 * layer + 1); }
  int64_t resident() const { return resident_bytes(rows_.data(), rows_.size()); }

  /// Where a stage writes the fp32 rows from `row` on: in place, or beside the cache when it has another format.
  float* new_keys(int64_t layer, int64_t row) const { return new_rows(2 * layer, row); }
  float* new_values(int64_t layer, int64_t row) const { return new_rows(2 * layer + 1, row); }
  size_t new_rows_bytes(int64_t count) const;
  /// Takes over what was written there.
  void store(int64_t layer, int64_t row, int64_t count);

  /// Gives back what no token from `next` − 1 on can see. (The token before the next one may be computed again.)
  void release_unseen(int64_t next);
  /// Whether the rows that the token `next` sees are all there.
  bool holds_context_of(int64_t next) const;
  /// The rows from `length` on are no longer needed.
  void truncate(int64_t length);
  /// All rows are to be written again, from the first one on.
  void rewind();

  /// Bytes of so many tokens' rows, as these two lay them out.
  size_t rows_bytes(int64_t count) const { return static_cast<size_t>(count * shape_.token_bytes()); }
  /// Copies rows as they are stored, keys and values of all layers. None of them may have been given back.
  void read_rows(int64_t row, int64_t count, uint8_t* to) const;
  void write_rows(int64_t row, int64_t count, const uint8_t* from) const;
  /// Takes over the first `count` rows of a cache of the same shape, as far as they are there.
  void copy_from(const KvCache& other, int64_t count);

 private:
  KvCache(const KvCacheShape& shape, MemoryAccount* account, ReservedBuffer rows, ReservedBuffer staged)
      : shape_(shape),
        account_(account),
        rows_(std::move(rows)),
        staged_(std::move(staged)),
        released_(shape.windows.size(), 0) {}
  size_t matrix_bytes() const { return static_cast<size_t>(shape_.capacity * shape_.row_bytes()); }
  uint8_t* matrix(int64_t index) const { return rows_.data() + static_cast<size_t>(index) * matrix_bytes(); }
  float* new_rows(int64_t index, int64_t row) const;
  void give_back(int64_t layer, int64_t begin, int64_t end);

  KvCacheShape shape_;
  MemoryAccount* account_ = nullptr;
  ReservedBuffer rows_;
  ReservedBuffer staged_;          ///< keys, then values, [largest_write] fp32 rows each; a page for kFloat32
  std::vector<int64_t> released_;  ///< by layer: rows before this one may be gone
};

}  // namespace pocketlora
