#include "kernels/common/scratch.h"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <vector>

namespace pocketlora {
namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kMinimumChunk = size_t{64} << 10;

std::atomic<int64_t> g_in_use{0};
std::atomic<int64_t> g_peak{0};

void account(int64_t delta) {
  const int64_t now = g_in_use.fetch_add(delta) + delta;
  int64_t peak = g_peak.load();
  while (now > peak && !g_peak.compare_exchange_weak(peak, now)) {
  }
}

struct Chunk {
  char* data;
  size_t size;
};

/// A stack of chunks: growing never moves what was already handed out.
class Arena {
 public:
  ~Arena() { release(); }

  void release() {
    for (const Chunk& chunk : chunks_) {
      std::free(chunk.data);
      account(-static_cast<int64_t>(chunk.size));
    }
    chunks_.clear();
    current_ = offset_ = 0;
  }

  void* take(size_t count) {
    const size_t size = (std::max<size_t>(count, 1) + kAlignment - 1) / kAlignment * kAlignment;
    if (chunks_.empty()) grow(size);
    while (offset_ + size > chunks_[current_].size) {
      if (current_ + 1 == chunks_.size()) grow(size);
      ++current_;
      offset_ = 0;
    }
    char* result = chunks_[current_].data + offset_;
    offset_ += size;
    return result;
  }

  /// Several chunks mean that a call needed more than before: hold one chunk of that size from now on.
  void merge() {
    if (chunks_.size() < 2) return;
    size_t total = 0;
    for (const Chunk& chunk : chunks_) total += chunk.size;
    release();
    grow(total);
  }

  size_t current_ = 0;
  size_t offset_ = 0;
  int depth_ = 0;

 private:
  void grow(size_t size) {
    size = std::max(size, kMinimumChunk);
    char* data = static_cast<char*>(std::aligned_alloc(kAlignment, size));
    if (data == nullptr) {
      std::fprintf(stderr, "pocketlora: out of memory: %zu bytes of kernel scratch\n", size);
      std::abort();
    }
    chunks_.push_back({data, size});
    account(static_cast<int64_t>(size));
  }

  std::vector<Chunk> chunks_;
};

Arena& arena() {
  static thread_local Arena instance;
  return instance;
}

}  // namespace

int64_t scratch_bytes_in_use() { return g_in_use.load(); }
int64_t scratch_bytes_peak() { return g_peak.load(); }
void scratch_reset_peak() { g_peak.store(g_in_use.load()); }
void scratch_release() { arena().release(); }

ScratchFrame::ScratchFrame() : chunk_(arena().current_), offset_(arena().offset_) { ++arena().depth_; }

ScratchFrame::~ScratchFrame() {
  Arena& mine = arena();
  mine.current_ = chunk_;
  mine.offset_ = offset_;
  if (--mine.depth_ == 0) mine.merge();
}

void* ScratchFrame::bytes(size_t count) { return arena().take(count); }

}  // namespace pocketlora
