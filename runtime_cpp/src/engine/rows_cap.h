#pragma once

#include <cstdint>
#include <mutex>
#include <set>

namespace pocketlora {

/// The rows that the trainers of an engine were planned for: another pass of the same program with more of them would
/// take more memory than they left. Thread-safe.
class RowsCap {
 public:
  /// A trainer's share, taken back when it goes out of scope.
  class Hold {
   public:
    Hold() = default;
    Hold(RowsCap* cap, int64_t rows) : cap_(cap), rows_(rows) {
      const std::lock_guard<std::mutex> lock(cap_->mutex_);
      cap_->rows_.insert(rows_);
    }
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;
    ~Hold() {
      if (cap_ == nullptr) return;
      const std::lock_guard<std::mutex> lock(cap_->mutex_);
      cap_->rows_.erase(cap_->rows_.find(rows_));
    }

   private:
    RowsCap* cap_ = nullptr;
    int64_t rows_ = 0;
  };

  /// @return the least of them, 0 when there is none.
  int64_t least() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return rows_.empty() ? 0 : *rows_.begin();
  }

 private:
  mutable std::mutex mutex_;
  std::multiset<int64_t> rows_;
};

}  // namespace pocketlora
