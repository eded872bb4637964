#include "engine/memory_account.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>

namespace pocketlora {
namespace {

size_t page_size() {
  static const size_t size = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  return size;
}

}  // namespace

void MemoryAccount::add(MemoryPart part, int64_t bytes) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (bytes < 0) note_peak_locked();
  heap_[static_cast<size_t>(part)] += bytes;
}

void MemoryAccount::add_mapping(MemoryPart part, const void* data, size_t size) {
  const std::lock_guard<std::mutex> lock(mutex_);
  mappings_.push_back({part, data, size});
}

void MemoryAccount::remove_mapping(const void* data) {
  const std::lock_guard<std::mutex> lock(mutex_);
  note_peak_locked();
  const auto same = [data](const Mapping& mapping) { return mapping.data == data; };
  mappings_.erase(std::remove_if(mappings_.begin(), mappings_.end(), same), mappings_.end());
}

MemoryAccount::Totals MemoryAccount::totals() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return totals_locked();
}

MemoryAccount::Totals MemoryAccount::committed() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  Totals totals = heap_;
  for (const Mapping& mapping : mappings_) {
    const bool arena = mapping.part == MemoryPart::kArena;
    totals[static_cast<size_t>(mapping.part)] +=
        arena ? resident_bytes(mapping.data, mapping.size) : static_cast<int64_t>(mapping.size);
  }
  return totals;
}

int64_t MemoryAccount::peak() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  note_peak_locked();
  return peak_;
}

void MemoryAccount::note_peak_locked() const {
  const Totals totals = totals_locked();
  peak_ = std::max(peak_, std::accumulate(totals.begin(), totals.end(), int64_t{0}));
}

MemoryAccount::Totals MemoryAccount::totals_locked() const {
  Totals totals = heap_;
  for (const Mapping& mapping : mappings_) {
    totals[static_cast<size_t>(mapping.part)] += resident_bytes(mapping.data, mapping.size);
  }
  return totals;
}

void MemoryCharge::swap(MemoryCharge& other) {
  std::swap(account_, other.account_);
  std::swap(part_, other.part_);
  std::swap(bytes_, other.bytes_);
}

Result<ReservedBuffer> ReservedBuffer::reserve(size_t bytes, MemoryAccount* account, MemoryPart part) {
  const size_t page = page_size();
  if (bytes > std::numeric_limits<size_t>::max() - page) {
    return error(PL_OUT_OF_MEMORY, "cannot reserve %zu bytes of memory", bytes);
  }
  const size_t size = (std::max<size_t>(bytes, 1) + page - 1) / page * page;
  void* data = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (data == MAP_FAILED) return error(PL_OUT_OF_MEMORY, "cannot reserve %zu bytes of memory", size);
  ReservedBuffer buffer;
  buffer.data_ = static_cast<uint8_t*>(data);
  buffer.size_ = size;
  buffer.account_ = account;
  account->add_mapping(part, data, size);
  return buffer;
}

ReservedBuffer::~ReservedBuffer() {
  if (data_ == nullptr) return;
  account_->remove_mapping(data_);
  ::munmap(data_, size_);
}

void ReservedBuffer::give_back(size_t begin, size_t end) const {
  const size_t page = page_size(), first = (begin + page - 1) / page * page, last = end / page * page;
  if (first < last) ::madvise(data_ + first, last - first, MADV_DONTNEED);
}

void ReservedBuffer::swap(ReservedBuffer& other) {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(account_, other.account_);
}

int64_t resident_bytes(const void* data, size_t size) {
  const size_t page = page_size();
  constexpr size_t kChunkPages = 4096;
  unsigned char present[kChunkPages];
  int64_t pages = 0;
  auto* first = static_cast<char*>(const_cast<void*>(data));
  for (size_t offset = 0; offset < size; offset += kChunkPages * page) {
    const size_t length = std::min(size - offset, kChunkPages * page);
    if (::mincore(first + offset, length, present) != 0) return 0;
    const size_t count = (length + page - 1) / page;
    pages += std::count_if(present, present + count, [](unsigned char flags) { return (flags & 1) != 0; });
  }
  return pages * static_cast<int64_t>(page);
}

}  // namespace pocketlora
