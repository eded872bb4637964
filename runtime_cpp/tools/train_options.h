#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>

#include "commands.h"

namespace pocketlora_run {

/// What `train` was asked for.
struct TrainOptions {
  BundleOptions bundle;
  std::string data, output, init_adapter, target_modules;
  std::string optimizer = "adamw";
  int64_t iters = 100, batch_size = 4, accumulation = 1;
  double epochs = 0;            // 0 = iters
  double learning_rate = 1e-4;  // as typed, for the events
  float dropout = 0, weight_decay = 0, momentum = 0;
  float beta1 = 0, beta2 = 0;  // 0 = the optimizer's
  int32_t rank = 0;            // 0 = the default
  float alpha = 0;             // 0 = 2 x rank
  uint64_t seed = 0;
  bool force = false;
  bool verify_base = false;
  pl_schedule schedule = PL_SCHEDULE_CONSTANT;
  int64_t warmup_steps = 0;
  float max_grad_norm = 0;
  int32_t max_skipped_steps = 3;
  std::string valid;
  int64_t eval_every = 0;
  int32_t patience = 0;
  bool keep_best = false;
  std::string checkpoint_dir;
  int64_t checkpoint_every = 50;
  int32_t keep = 2;
  bool resume = false;
  pl_loss loss = PL_LOSS_CROSS_ENTROPY;
  float beta = 0, label_smoothing = 0;  // beta: 0 = the default
  pl_activations activations = PL_ACTIVATIONS_AUTO;
  std::string scratch_dir;
  pl_compute compute = PL_COMPUTE_FLOAT32;
  pl_recompute recompute = PL_RECOMPUTE_AUTO;

  void add_to(CLI::App* command);
  /// Throws ToolError for options that contradict each other, all of them listed.
  void check() const;
  /// Optimizer steps for so many rows.
  int64_t steps(size_t num_rows) const;
  /// What the C API is asked for; points into this object.
  pl_trainer_options trainer(const pl_engine_info& info, int64_t steps) const;
  bool learns_preferences() const { return loss == PL_LOSS_DPO; }
  bool saves_best() const { return keep_best || patience > 0; }
};

/// "fp32" and so on.
std::string activations_name(pl_activations activations);
/// "sft" or "dpo".
std::string loss_name(pl_loss loss);

}  // namespace pocketlora_run
