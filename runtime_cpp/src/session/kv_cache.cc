#include "session/kv_cache.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "bundle/checked_size.h"

namespace pocketlora {
namespace {

// A window moves on by as many rows before its tail is given back: looking after pages costs more than a few of them.
constexpr int64_t kRowsPerRelease = 64;

}  // namespace

int64_t KvCacheShape::most_resident() const {
  int64_t rows = 0;
  for (const int64_t window : windows) {
    rows += window > 0 ? std::min(capacity, window + kRowsPerRelease + largest_write) : capacity;
  }
  // A page is shared, or half used, at both ends of each matrix at most.
  const int64_t page = static_cast<int64_t>(::sysconf(_SC_PAGESIZE));
  return 2 * rows * row_bytes() + 2 * num_layers() * 2 * page;
}

int64_t KvCacheShape::staged_bytes() const {
  if (format == CacheFormat::kFloat32) return 0;
  return 2 * largest_write * (row_bytes() + num_heads * head_dim * static_cast<int64_t>(sizeof(float)));
}

Result<KvCache> KvCache::create(const KvCacheShape& shape, MemoryAccount* account) {
  PL_ASSIGN_OR_RETURN(const size_t bytes, bytes_of({2, shape.num_layers(), shape.capacity, shape.row_bytes()}));
  const bool in_place = shape.format == CacheFormat::kFloat32;
  const int64_t staged_rows = in_place ? 0 : 2 * shape.largest_write;
  PL_ASSIGN_OR_RETURN(const size_t staged_bytes,
                      bytes_of({staged_rows, shape.num_heads, shape.head_dim, sizeof(float)}));
  PL_ASSIGN_OR_RETURN(ReservedBuffer rows, ReservedBuffer::reserve(bytes, account, MemoryPart::kKvCache));
  PL_ASSIGN_OR_RETURN(ReservedBuffer staged, ReservedBuffer::reserve(staged_bytes, account, MemoryPart::kScratch));
  return KvCache(shape, account, std::move(rows), std::move(staged));
}

size_t KvCache::new_rows_bytes(int64_t count) const {
  return static_cast<size_t>(count * shape_.num_heads * shape_.head_dim) * sizeof(float);
}

float* KvCache::new_rows(int64_t index, int64_t row) const {
  if (shape_.format == CacheFormat::kFloat32) {
    return reinterpret_cast<float*>(matrix(index) + row * shape_.row_bytes());
  }
  return reinterpret_cast<float*>(staged_.data() +
                                  static_cast<size_t>(index % 2) * new_rows_bytes(shape_.largest_write));
}

void KvCache::store(int64_t layer, int64_t row, int64_t count) {
  if (shape_.format == CacheFormat::kFloat32) return;
  for (int64_t index = 2 * layer; index < 2 * layer + 2; ++index) {
    store_cache_rows(shape_.format, new_rows(index, row), count, shape_.num_heads, shape_.head_dim,
                     matrix(index) + row * shape_.row_bytes());
  }
}

void KvCache::give_back(int64_t layer, int64_t begin, int64_t end) {
  for (int64_t index = 2 * layer; index < 2 * layer + 2; ++index) {
    const size_t at = static_cast<size_t>(index) * matrix_bytes();
    rows_.give_back(at + static_cast<size_t>(begin * shape_.row_bytes()),
                    at + static_cast<size_t>(end * shape_.row_bytes()));
  }
}

void KvCache::release_unseen(int64_t next) {
  bool noted = false;
  for (int64_t layer = 0; layer < shape_.num_layers(); ++layer) {
    const int64_t window = shape_.windows[static_cast<size_t>(layer)];
    int64_t& released = released_[static_cast<size_t>(layer)];
    const int64_t unseen = window > 0 ? next - window : 0;
    if (unseen < released + kRowsPerRelease) continue;
    if (!noted) account_->peak();
    noted = true;
    // From the first row on: a page that the last call left, because a row of it was still seen, goes now.
    give_back(layer, 0, unseen);
    released = unseen;
  }
}

bool KvCache::holds_context_of(int64_t next) const {
  for (size_t layer = 0; layer < released_.size(); ++layer) {
    const int64_t window = shape_.windows[layer];
    if (window > 0 && std::max<int64_t>(0, next + 1 - window) < released_[layer]) return false;
  }
  return true;
}

void KvCache::truncate(int64_t length) {
  account_->peak();
  if (length == 0) return rows_.give_back(0, rows_.size());  // the pages that two matrices share, too
  for (int64_t layer = 0; layer < shape_.num_layers(); ++layer) give_back(layer, length, shape_.capacity);
}

void KvCache::read_rows(int64_t row, int64_t count, uint8_t* to) const {
  const auto bytes = static_cast<size_t>(count * shape_.row_bytes());
  for (int64_t index = 0; index < 2 * shape_.num_layers(); ++index, to += bytes) {
    std::memcpy(to, matrix(index) + row * shape_.row_bytes(), bytes);
  }
}

void KvCache::write_rows(int64_t row, int64_t count, const uint8_t* from) const {
  const auto bytes = static_cast<size_t>(count * shape_.row_bytes());
  for (int64_t index = 0; index < 2 * shape_.num_layers(); ++index, from += bytes) {
    std::memcpy(matrix(index) + row * shape_.row_bytes(), from, bytes);
  }
}

void KvCache::copy_from(const KvCache& other, int64_t count) {
  released_ = other.released_;
  for (int64_t index = 0; index < 2 * shape_.num_layers(); ++index) {
    const int64_t begin = std::min(released_[static_cast<size_t>(index / 2)], count);
    const auto bytes = static_cast<size_t>((count - begin) * shape_.row_bytes());
    std::memcpy(matrix(index) + begin * shape_.row_bytes(), other.matrix(index) + begin * shape_.row_bytes(), bytes);
  }
}

void KvCache::rewind() { std::fill(released_.begin(), released_.end(), 0); }

}  // namespace pocketlora
