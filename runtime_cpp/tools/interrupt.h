#pragma once

namespace pocketlora_run {

/// Ctrl-C was pressed: the command stops at the next safe point and leaves nothing half-written.
class Interrupted {};

/// Makes SIGINT and SIGTERM set a flag; a second one ends the process at once.
void catch_interrupts();
bool interrupted();
/// Throws Interrupted when the flag is set.
void stop_if_interrupted();

}  // namespace pocketlora_run
