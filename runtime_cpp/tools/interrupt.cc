#include "interrupt.h"

#include <atomic>
#include <csignal>

namespace pocketlora_run {
namespace {

volatile std::sig_atomic_t interrupt_flag = 0;

// Set and cleared by the main thread only; the handler may run in between.
std::atomic<void (*)(void*)> cancel_function{nullptr};
std::atomic<void*> cancel_handle{nullptr};

extern "C" void note_interrupt(int) {
  interrupt_flag = 1;
  void (*cancel)(void*) = cancel_function.load();
  if (cancel != nullptr) cancel(cancel_handle.load());
}

}  // namespace

void catch_interrupts() {
  struct sigaction action = {};
  action.sa_handler = note_interrupt;
  action.sa_flags = static_cast<int>(SA_RESETHAND) | SA_RESTART;
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

InterruptCancels::InterruptCancels(void (*cancel)(void* handle), void* handle) {
  cancel_handle.store(handle);
  cancel_function.store(cancel);
}

InterruptCancels::~InterruptCancels() { cancel_function.store(nullptr); }

bool interrupted() { return interrupt_flag != 0; }

void stop_if_interrupted() {
  if (interrupted()) throw Interrupted();
}

}  // namespace pocketlora_run
