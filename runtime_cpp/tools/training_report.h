#pragma once

#include <cstdint>
#include <string>

#include "pocketlora/pocketlora.h"

namespace pocketlora_run {

/// What a training tells: events (docs/events.md) on stdout, lines for people on stderr.

void report_plan(const pl_trainer_info& plan);
/// @return the event's line, as report_validation does.
std::string report_step(const pl_step_report& step, const pl_progress& progress, const pl_memory& memory);
std::string report_validation(const pl_validation& validation);
void report_checkpoint(const pl_checkpoint& checkpoint);
/// A checkpoint was loaded; warnings for the damaged ones that were passed over.
void report_resume(const pl_checkpoint& checkpoint);
void report_warning(pl_status code, const std::string& message);

/// A training that came to its end.
struct TrainingEnd {
  int64_t steps = 0, tokens = 0;
  double seconds = 0, loss = 0;
  int64_t steps_here = 0;  ///< of this process
  std::string path;
  int64_t best_step = -1;  ///< −1 = the last adapter was saved
};
void report_complete(const TrainingEnd& end, const pl_memory& memory);

}  // namespace pocketlora_run
