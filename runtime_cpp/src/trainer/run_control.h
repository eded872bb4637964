#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>

#include "trainer/preference_loss.h"

namespace pocketlora {

/// How far a trainer is.
struct Progress {
  int64_t step = 0, total_steps = 0, blocks_done = 0, blocks = 0;
  bool paused = false;
  double loss = 0.0, grad_norm = 0.0, learning_rate = 0.0;
  int64_t tokens = 0, skipped_steps = 0;
  double tokens_per_second = 0.0, seconds_left = -1.0;
  Rewards rewards;  ///< of preference pairs, in the last step
};

/// What other threads may do to a training step: cancel it, hold it at its next block, ask how far it is.
class RunControl {
 public:
  /// For any thread and signal handlers.
  void cancel() { cancelled_.store(true); }
  void pause();
  void resume();

  /// Called by the step before each block: waits while paused. @return whether it was cancelled, which it then no
  /// longer is.
  bool at_block();
  /// Between blocks: whether it was cancelled; does not wait.
  bool take_cancel() { return cancelled_.exchange(false); }

  /// A step of so many blocks begins, or ends (successfully or not).
  void begin_step(int64_t blocks);
  void end_step();
  /// Seconds that the running step, or the last one, has waited.
  double paused_seconds() const { return paused_seconds_; }

  /// While it is held, a step that waits at a block goes on waiting.
  std::mutex& hold() { return hold_; }

  void set(const Progress& facts);
  Progress progress() const;

 private:
  std::atomic<bool> cancelled_{false}, pause_asked_{false}, waiting_{false};
  std::atomic<int64_t> blocks_done_{0}, blocks_{0};
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::mutex hold_;
  Progress facts_;
  double paused_seconds_ = 0.0;
};

}  // namespace pocketlora
