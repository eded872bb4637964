#include "engine/blob_cache.h"

#include <unistd.h>

#include <iterator>
#include <memory>
#include <utility>

namespace pocketlora {
namespace {

size_t whole_pages(size_t bytes) {
  static const size_t page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  return (bytes + page - 1) / page * page;
}

}  // namespace

Result<std::unique_ptr<BlobCache>> BlobCache::create(int64_t bytes, MemoryAccount* account, MemoryPart part) {
  PL_ASSIGN_OR_RETURN(ReservedBuffer buffer, ReservedBuffer::reserve(static_cast<size_t>(bytes), account, part));
  return std::unique_ptr<BlobCache>(new BlobCache(std::move(buffer), account));
}

bool BlobCache::get(const Key& key, size_t size, const std::function<void(const uint8_t* data)>& read) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto place = places_.find(key);
  if (place == places_.end() || place->second->size != size) return false;
  entries_.splice(entries_.begin(), entries_, place->second);
  read(buffer_.data() + place->second->begin);
  return true;
}

bool BlobCache::put(const Key& key, size_t size, const std::function<void(uint8_t* data)>& write) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (places_.count(key) > 0) return true;
  const size_t pages_size = whole_pages(size);
  if (size == 0 || pages_size > buffer_.size()) return false;
  size_t begin = 0;
  while (!allocate(pages_size, &begin)) evict_last();
  write(buffer_.data() + begin);
  entries_.push_front({key, begin, pages_size, size});
  places_[key] = entries_.begin();
  return true;
}

void BlobCache::touch(const Key& key) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto place = places_.find(key);
  if (place != places_.end()) entries_.splice(entries_.begin(), entries_, place->second);
}

size_t BlobCache::entries() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return entries_.size();
}

int64_t BlobCache::used() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  size_t bytes = 0;
  for (const Entry& entry : entries_) bytes += entry.pages_size;
  return static_cast<int64_t>(bytes);
}

/// The first gap that is large enough.
bool BlobCache::allocate(size_t size, size_t* begin) {
  for (auto gap = free_.begin(); gap != free_.end(); ++gap) {
    if (gap->second < size) continue;
    *begin = gap->first;
    const size_t rest = gap->second - size;
    free_.erase(gap);
    if (rest > 0) free_[*begin + size] = rest;
    return true;
  }
  return false;
}

void BlobCache::release(size_t begin, size_t size) {
  account_->peak();  // before pages go
  buffer_.give_back(begin, begin + size);
  auto gap = free_.emplace(begin, size).first;
  const auto next = std::next(gap);
  if (next != free_.end() && next->first == gap->first + gap->second) {
    gap->second += next->second;
    free_.erase(next);
  }
  if (gap == free_.begin()) return;
  const auto before = std::prev(gap);
  if (before->first + before->second != gap->first) return;
  before->second += gap->second;
  free_.erase(gap);
}

void BlobCache::evict_last() {
  const Entry entry = entries_.back();
  places_.erase(entry.key);
  entries_.pop_back();
  release(entry.begin, entry.pages_size);
}

}  // namespace pocketlora
