#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "pocketlora/pocketlora.h"
#include "rows.h"

namespace pocketlora_run {

/// Order and packing of rows by docs/text-rows.md, the same as in Python: a run is reproducible on either side.

/// The order of one epoch: Fisher-Yates over 0 ... n-1 from the last element down (swap i with next() mod (i + 1)),
/// where next() is SplitMix64 started at seed + epoch modulo 2^64.
std::vector<size_t> epoch_order(size_t n, uint64_t seed, uint64_t epoch);

/// Row numbers without end: epoch after epoch.
class RowOrder {
 public:
  /// @param n at least 1.
  RowOrder(size_t n, uint64_t seed) : n_(n), seed_(seed) {}
  size_t next();
  /// As after so many calls of next() on a new one.
  void go_to(uint64_t position);

 private:
  size_t n_;
  uint64_t seed_;
  uint64_t epoch_ = 0;
  size_t position_ = 0;
  std::vector<size_t> order_;
};

/// CRC-32 (as zlib's) over all rows in order: for each its number of tokens, the lengths of its segments, its tokens
/// and its labels, all as int64, little endian. Tells whether training goes on with the data that it began with.
uint32_t rows_crc32(const std::vector<Row>& rows);

/// What one micro-batch may hold.
struct PackLimits {
  int64_t max_tokens = 0;
  int64_t max_segments = 0;
};

/// Rows one after the other.
struct MicroBatch {
  std::vector<int64_t> tokens;
  std::vector<int64_t> labels;
  std::vector<int64_t> segments = {0};

  size_t num_rows() const { return segments.size() - 1; }
  /// The C view of it; valid while this object is.
  pl_batch view() const;
};

/// Packs rows in the given order; a new micro-batch begins where the next row would not fit.
std::vector<MicroBatch> pack(const std::vector<const Row*>& rows, const PackLimits& limits);

}  // namespace pocketlora_run
