#pragma once

namespace pocketlora_run {

/// Ctrl-C was pressed: the command stops at the next safe point and leaves nothing half-written.
class Interrupted {};

/// Makes SIGINT and SIGTERM set a flag; a second one ends the process at once.
void catch_interrupts();
bool interrupted();
/// While it is in scope, an interrupt also calls `cancel(handle)`, which must be fit for a signal handler.
class InterruptCancels {
 public:
  InterruptCancels(void (*cancel)(void* handle), void* handle);
  ~InterruptCancels();
  InterruptCancels(const InterruptCancels&) = delete;
  InterruptCancels& operator=(const InterruptCancels&) = delete;
};
/// Throws Interrupted when the flag is set.
void stop_if_interrupted();

}  // namespace pocketlora_run
