#pragma once

#include <string>
#include <vector>

#include "engine/engine.h"
#include "trainer/step_passes.h"
#include "trainer/training_plan.h"

namespace pocketlora {

/// What the engine holds now and how a pass is paid for; adapter, gradients and optimizer are for the caller to fill
/// in. Under a memory limit the program's methods are loaded, so that they count.
Result<TrainingNeeds> present_needs(Engine* engine, StageGraph* graph);

/// The passes of an evaluation: the bundle's limits, fewer rows where the memory limit asks for it. @return
/// OUT_OF_MEMORY with the numbers when not even the smallest fits.
Result<PassLimits> evaluation_limits(Engine* engine);

/// SEQUENCE_TOO_LONG for what the bundle cannot compute, OUT_OF_MEMORY for what the memory limit leaves no room for,
/// SEQUENCE_TOO_LONG for a max_rows of the caller's.
Status too_long_for_pass(const Engine& engine, const std::string& segment, int64_t rows, int64_t max_rows);

}  // namespace pocketlora
