#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "batching.h"
#include "handles.h"
#include "run_facts.h"
#include "train_options.h"

namespace pocketlora_run {

/// One training: its rows, its trainer, its checkpoints.
class TrainingRun {
 public:
  /// @param init may be null
  TrainingRun(const TrainOptions& options, pl_engine* engine, const pl_adapter* init);

  /// All steps, or those that a checkpoint has left. An interrupt writes a checkpoint, where there are any, and goes on
  /// its way.
  void train();
  /// Writes the artifact of the run (docs/artifact.md). With --verify-base the base is hashed again before; one that
  /// has changed is an error, after the artifact was written with a note of it.
  void save();

 private:
  void create_trainer(const pl_adapter* init);
  void resume();
  void check_user_state(const std::string& text) const;
  std::string user_state() const;
  void run_steps();
  std::vector<MicroBatch> next_batches();
  pl_step_report one_step();
  pl_progress progress() const;
  void report(const pl_step_report& step);
  void log(const std::string& event);
  void validate(int64_t step);
  void checkpoint();

  const TrainOptions& options_;
  pl_engine* engine_;
  pl_engine_info info_;
  RunFacts facts_;
  std::vector<Row> rows_;
  uint32_t rows_crc32_ = 0;
  std::vector<MicroBatch> held_out_;
  std::unique_ptr<RowOrder> order_;
  Trainer trainer_;
  int64_t steps_ = 0, done_ = 0, done_before_ = 0;
  int64_t checkpointed_ = -1;  ///< step of the newest checkpoint
  int64_t best_step_ = 0;
  bool stopped_early_ = false;
  double started_ = 0;
  double loss_ = 0;
};

}  // namespace pocketlora_run
