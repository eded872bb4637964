#include "batching.h"

#include <numeric>
#include <utility>

namespace pocketlora_run {
namespace {

uint64_t splitmix64(uint64_t* state) {
  uint64_t z = (*state += 0x9E3779B97F4A7C15U);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
  return z ^ (z >> 31);
}

}  // namespace

std::vector<size_t> epoch_order(size_t n, uint64_t seed, uint64_t epoch) {
  std::vector<size_t> order(n);
  std::iota(order.begin(), order.end(), size_t{0});
  uint64_t state = seed + epoch;
  for (size_t i = n; i-- > 1;) std::swap(order[i], order[splitmix64(&state) % (i + 1)]);
  return order;
}

size_t RowOrder::next() {
  if (position_ == order_.size()) {
    order_ = epoch_order(n_, seed_, epoch_++);
    position_ = 0;
  }
  return order_[position_++];
}

void RowOrder::go_to(uint64_t position) {
  epoch_ = position / n_;
  order_ = epoch_order(n_, seed_, epoch_++);
  position_ = position % n_;
}

uint32_t rows_crc32(const std::vector<Row>& rows) {
  uint32_t crc = 0xFFFFFFFFU;
  const auto add = [&crc](int64_t value) {
    for (int byte = 0; byte < 8; ++byte) {
      crc ^= static_cast<uint32_t>(static_cast<uint64_t>(value) >> (8 * byte)) & 0xFFU;
      for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1U) != 0 ? 0xEDB88320U : 0U);
    }
  };
  for (const Row& row : rows) {
    const auto length = static_cast<int64_t>(row.tokens.size());
    add(length);
    for (const int64_t part : row.lengths.empty() ? std::vector<int64_t>{length} : row.lengths) add(part);
    for (const int64_t token : row.tokens) add(token);
    for (const int64_t label : row.labels) add(label);
  }
  return ~crc;
}

pl_batch MicroBatch::view() const {
  return {sizeof(pl_batch), tokens.data(), labels.data(), segments.data(), tokens.size(), num_rows()};
}

std::vector<MicroBatch> pack(const std::vector<const Row*>& rows, const PackLimits& limits) {
  std::vector<MicroBatch> batches;
  for (const Row* row : rows) {
    const bool fits = !batches.empty() &&
                      static_cast<int64_t>(batches.back().tokens.size() + row->tokens.size()) <= limits.max_tokens &&
                      static_cast<int64_t>(batches.back().num_rows() + row->num_segments()) <= limits.max_segments;
    if (!fits) batches.emplace_back();
    MicroBatch& batch = batches.back();
    batch.tokens.insert(batch.tokens.end(), row->tokens.begin(), row->tokens.end());
    batch.labels.insert(batch.labels.end(), row->labels.begin(), row->labels.end());
    for (size_t i = 0; i + 1 < row->lengths.size(); ++i) {
      batch.segments.push_back(batch.segments.back() + row->lengths[i]);
    }
    batch.segments.push_back(static_cast<int64_t>(batch.tokens.size()));
  }
  return batches;
}

}  // namespace pocketlora_run
