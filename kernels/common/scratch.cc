#include "kernels/common/scratch.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <vector>

namespace pocketlora {
namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kPage = 4096;
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
      ::munmap(chunk.data, chunk.size);
      account(-static_cast<int64_t>(chunk.size));
    }
    chunks_.clear();
    current_ = offset_ = live_ = 0;
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
    live_ += size;
    most_ = std::max(most_, live_);
    return result;
  }

  /// Several chunks mean that a call needed more than before: hold one chunk of that much from now on, all of it used.
  void merge() {
    if (chunks_.size() < 2) return;
    release();
    grow(most_);
  }

  size_t current_ = 0;
  size_t offset_ = 0;
  size_t live_ = 0;  ///< bytes handed out now
  int depth_ = 0;

 private:
  /// Mapped rather than from the heap, so that a chunk that is given up leaves nothing behind.
  void grow(size_t size) {
    size = (std::max(size, kMinimumChunk) + kPage - 1) / kPage * kPage;
    void* mapped = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED) {
      std::fprintf(stderr, "pocketlora: out of memory: %zu bytes of kernel scratch\n", size);
      std::abort();
    }
    char* data = static_cast<char*>(mapped);
    chunks_.push_back({data, size});
    account(static_cast<int64_t>(size));
  }

  std::vector<Chunk> chunks_;
  size_t most_ = 0;  ///< bytes handed out at once, at most
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

ScratchFrame::ScratchFrame() : chunk_(arena().current_), offset_(arena().offset_), live_(arena().live_) {
  ++arena().depth_;
}

ScratchFrame::~ScratchFrame() {
  Arena& mine = arena();
  mine.current_ = chunk_;
  mine.offset_ = offset_;
  mine.live_ = live_;
  if (--mine.depth_ == 0) mine.merge();
}

void* ScratchFrame::bytes(size_t count) { return arena().take(count); }

}  // namespace pocketlora
