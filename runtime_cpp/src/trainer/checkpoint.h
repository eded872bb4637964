#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "adapters/adapter.h"
#include "common/json_access.h"
#include "common/result.h"
#include "optim/optimizer.h"
#include "trainer/best_adapter.h"
#include "trainer/metrics_log.h"

namespace pocketlora {

/// The numbers of a training. There are no generators to keep: masks and orders follow from the seed and the step.
struct TrainingState {
  int64_t step = 0;             ///< data consumed, skipped steps included
  int64_t optimizer_steps = 0;  ///< updates
  int64_t skipped_steps = 0, skipped_in_row = 0;
  int64_t tokens = 0;
  float learning_rate = 0.0F;  ///< what the schedule works on
  BestAdapter::State best;
};

/// What a checkpoint is written from.
struct CheckpointSource {
  TrainingState state;
  const Adapter* adapter = nullptr;
  Adapter::Pointer best;  ///< null = none is kept; may be the adapter itself
  const Optimizer* optimizer = nullptr;
  Json settings;  ///< what must be the same when training goes on
  std::string user_state;
  std::string metrics;  ///< the lines of MetricsLog; "" = there are none
};

struct CheckpointFacts {
  int64_t step = 0;
  std::string path, user_state;
  std::vector<std::string> skipped;  ///< newer ones that are damaged: path and what is wrong
  int64_t nbytes = 0;
  double seconds = 0.0;
};

/// Writes `dir`/step-… atomically, then leaves only the newest `keep`. A failure leaves what was there.
Result<CheckpointFacts> write_checkpoint(const CheckpointSource& source, const std::string& dir, int64_t keep);

/// What a checkpoint gives back, all of it checked; the optimizer's state is not in it but goes where it belongs.
struct CheckpointContents {
  CheckpointFacts facts;
  TrainingState state;
  Adapter::Pointer adapter, best;
  MetricsLog metrics;
};

/// Reads the newest checkpoint whose files are as they were written. @param settings as in CheckpointSource.
/// @param optimizer its state is overwritten, only when everything is right.
/// @return INPUT_MISSING without any checkpoint, INPUT_MALFORMED when all are damaged, INPUT_UNSUPPORTED for one of a
/// later version, INPUT_MISMATCH with all that differs from the settings.
Result<CheckpointContents> read_checkpoint(const std::string& dir, const std::shared_ptr<const AdapterLayout>& layout,
                                           const Json& settings, Optimizer* optimizer);

}  // namespace pocketlora
