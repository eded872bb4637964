#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>

#include "common/result.h"
#include "engine/memory_account.h"

namespace pocketlora {

/// Byte strings by key within a budget that is reserved once; those used longest ago make room. Thread-safe.
class BlobCache {
 public:
  using Key = std::array<uint8_t, 32>;

  /// @param bytes the budget, above 0. @return OUT_OF_MEMORY when it cannot be reserved.
  static Result<std::unique_ptr<BlobCache>> create(int64_t bytes, MemoryAccount* account, MemoryPart part);

  /// Calls read(data) while the entry is held. @return whether there is one with that key and size.
  bool get(const Key& key, size_t size, const std::function<void(const uint8_t* data)>& read);
  /// Makes room and calls write(data). @return false when the size exceeds the budget; an entry with that key stays as
  /// it is.
  bool put(const Key& key, size_t size, const std::function<void(uint8_t* data)>& write);
  /// Marks an entry as just used; nothing when there is none.
  void touch(const Key& key);

  size_t entries() const;
  /// Bytes of the pages that entries take.
  int64_t used() const;

 private:
  struct Entry {
    Key key;
    size_t begin, pages_size, size;
  };

  BlobCache(ReservedBuffer buffer, MemoryAccount* account) : buffer_(std::move(buffer)), account_(account) {
    free_[0] = buffer_.size();
  }
  bool allocate(size_t size, size_t* begin);
  void release(size_t begin, size_t size);
  void evict_last();

  mutable std::mutex mutex_;
  ReservedBuffer buffer_;
  MemoryAccount* account_;
  std::list<Entry> entries_;  ///< the most recently used first
  std::map<Key, std::list<Entry>::iterator> places_;
  std::map<size_t, size_t> free_;  ///< begin → size, in whole pages; never two that touch
};

}  // namespace pocketlora
