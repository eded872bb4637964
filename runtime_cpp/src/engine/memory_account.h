#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

#include "common/result.h"

namespace pocketlora {

/// What the runtime's own allocations are for; the fields of pl_memory.
enum class MemoryPart { kArena, kBlockInputs, kAdapter, kGradients, kOptimizer, kKvCache, kScratch, kOther, kCount };

/// Counts allocations by part. Heap memory counts by its size; reserved mappings count by the pages that were touched,
/// so that the sum can be held against RssAnon. Thread-safe; outlives everything charged to it.
class MemoryAccount {
 public:
  using Totals = std::array<int64_t, static_cast<size_t>(MemoryPart::kCount)>;

  void add(MemoryPart part, int64_t bytes);
  void add_mapping(MemoryPart part, const void* data, size_t size);
  void remove_mapping(const void* data);
  Totals totals() const;
  /// As totals(), with reserved memory counted whole: what has been promised. An arena counts where it is touched,
  /// since how much of it ever is depends on the rows of a pass.
  Totals committed() const;
  /// The largest sum of the parts so far. Touched pages only grow in number until their mapping is taken away, so it is
  /// enough to look before anything shrinks and when asked.
  int64_t peak() const;

 private:
  struct Mapping {
    MemoryPart part;
    const void* data;
    size_t size;
  };

  Totals totals_locked() const;
  void note_peak_locked() const;

  mutable std::mutex mutex_;
  mutable int64_t peak_ = 0;
  Totals heap_{};
  std::vector<Mapping> mappings_;
};

/// A charge that is taken back when it goes out of scope.
class MemoryCharge {
 public:
  MemoryCharge() = default;
  MemoryCharge(MemoryAccount* account, MemoryPart part, int64_t bytes) : account_(account), part_(part), bytes_(bytes) {
    account_->add(part_, bytes_);
  }
  MemoryCharge(MemoryCharge&& other) noexcept { swap(other); }
  MemoryCharge& operator=(MemoryCharge&& other) noexcept {
    swap(other);
    return *this;
  }
  MemoryCharge(const MemoryCharge&) = delete;
  MemoryCharge& operator=(const MemoryCharge&) = delete;
  ~MemoryCharge() {
    if (account_ != nullptr) account_->add(part_, -bytes_);
  }

 private:
  void swap(MemoryCharge& other);

  MemoryAccount* account_ = nullptr;
  MemoryPart part_ = MemoryPart::kOther;
  int64_t bytes_ = 0;
};

/// Zeroed, page-aligned memory that is reserved but not resident: a page costs nothing until it is touched.
class ReservedBuffer {
 public:
  ReservedBuffer() = default;
  /// @return PL_OUT_OF_MEMORY when the address space or the limit does not allow it. Zero bytes give a valid one-page
  /// buffer.
  static Result<ReservedBuffer> reserve(size_t bytes, MemoryAccount* account, MemoryPart part);

  ReservedBuffer(ReservedBuffer&& other) noexcept { swap(other); }
  ReservedBuffer& operator=(ReservedBuffer&& other) noexcept {
    swap(other);
    return *this;
  }
  ReservedBuffer(const ReservedBuffer&) = delete;
  ReservedBuffer& operator=(const ReservedBuffer&) = delete;
  ~ReservedBuffer();

  uint8_t* data() const { return data_; }
  size_t size() const { return size_; }
  /// Gives the whole pages of [begin, end) back to the system; they read as zeros from then on.
  void give_back(size_t begin, size_t end) const;
  template <typename T>
  T* as() const {
    return reinterpret_cast<T*>(data_);
  }

 private:
  void swap(ReservedBuffer& other);

  uint8_t* data_ = nullptr;
  size_t size_ = 0;
  MemoryAccount* account_ = nullptr;
};

/// Bytes of [data, data + size) that are resident; data must be page-aligned.
int64_t resident_bytes(const void* data, size_t size);

}  // namespace pocketlora
