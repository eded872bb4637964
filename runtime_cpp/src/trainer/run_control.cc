#include "trainer/run_control.h"

#include <algorithm>

namespace pocketlora {

void RunControl::pause() { pause_asked_.store(true); }

void RunControl::resume() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    pause_asked_.store(false);
  }
  changed_.notify_all();
}

bool RunControl::at_block() {
  ++blocks_done_;
  if (pause_asked_.load() && !cancelled_.load()) {
    const auto start = std::chrono::steady_clock::now();
    std::unique_lock<std::mutex> lock(mutex_);
    waiting_.store(true);
    // A signal handler that cancels cannot wake anybody: look for it now and then.
    constexpr auto kLook = std::chrono::milliseconds(20);
    while (pause_asked_.load() && !cancelled_.load()) changed_.wait_for(lock, kLook);
    lock.unlock();
    const std::lock_guard<std::mutex> held(hold_);  // somebody may be writing a checkpoint
    waiting_.store(false);
    paused_seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }
  return take_cancel();
}

void RunControl::begin_step(int64_t blocks) {
  paused_seconds_ = 0.0;
  blocks_done_.store(0);
  blocks_.store(blocks);
}

void RunControl::end_step() {
  blocks_.store(0);
  blocks_done_.store(0);
}

void RunControl::set(const Progress& facts) {
  const std::lock_guard<std::mutex> lock(mutex_);
  facts_ = facts;
}

Progress RunControl::progress() const {
  Progress progress;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    progress = facts_;
  }
  progress.blocks = blocks_.load();
  // Asked at the start of a block, so the one that runs is not done yet.
  progress.blocks_done = std::max<int64_t>(blocks_done_.load() - 1, 0);
  progress.paused = waiting_.load();
  return progress;
}

}  // namespace pocketlora
