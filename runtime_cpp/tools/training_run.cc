#include "training_run.h"

#include <chrono>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <system_error>

#include "interrupt.h"
#include "training_report.h"

namespace pocketlora_run {
namespace {

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

std::vector<pl_batch> views_of(const std::vector<MicroBatch>& batches) {
  std::vector<pl_batch> views;
  views.reserve(batches.size());
  for (const MicroBatch& batch : batches) views.push_back(batch.view());
  return views;
}

/// Whether a folder has something that looks like a checkpoint.
bool holds_checkpoints(const std::string& dir) {
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(dir, ignored)) {
    if (entry.path().filename().string().rfind("step-", 0) == 0) return true;
  }
  return false;
}

}  // namespace

TrainingRun::TrainingRun(const TrainOptions& options, pl_engine* engine, const pl_adapter* init)
    : options_(options), engine_(engine), info_(engine_info(engine)) {
  const RowLimits limits = {info_.vocab_size, info_.train_t_max, info_.max_segments, options.learns_preferences()};
  rows_ = read_rows(options.data, limits);
  rows_crc32_ = rows_crc32(rows_);
  facts_.add_data("train", options.data, rows_);
  if (!options.valid.empty()) {
    const std::vector<Row> valid = read_rows(options.valid, limits);
    facts_.add_data("valid", options.valid, valid);
    std::vector<const Row*> in_order;
    for (const Row& row : valid) in_order.push_back(&row);
    held_out_ = pack(in_order, {info_.train_t_max, info_.max_segments});
  }
  order_ = std::make_unique<RowOrder>(rows_.size(), options.seed);
  steps_ = options.steps(rows_.size());
  create_trainer(init);
}

void TrainingRun::create_trainer(const pl_adapter* init) {
  const pl_trainer_options options = options_.trainer(info_, steps_);
  pl_trainer* handle = nullptr;
  check(pl_trainer_create(engine_, &options, init, &handle));
  trainer_.reset(handle);
  pl_trainer_info plan = {};
  plan.struct_size = sizeof(plan);
  check(pl_trainer_get_info(handle, &plan));
  report_plan(plan);
}

// The same keys as the Python command's: either goes on from the other's checkpoints.
std::string TrainingRun::user_state() const {
  const Json state = {{"rows", rows_.size()},
                      {"rows_crc32", rows_crc32_},
                      {"batch_size", options_.batch_size},
                      {"grad_accumulation_steps", options_.accumulation}};
  return state.dump();
}

void TrainingRun::check_user_state(const std::string& text) const {
  const nlohmann::json then = nlohmann::json::parse(text, nullptr, false);
  const nlohmann::json now = nlohmann::json::parse(user_state());
  if (then == now) return;
  throw ToolError(PL_INPUT_MISMATCH,
                  "training cannot go on with other rows: the checkpoint has " + text + ", now " + now.dump());
}

void TrainingRun::resume() {
  if (options_.checkpoint_dir.empty()) return;
  if (!options_.resume) {
    if (!holds_checkpoints(options_.checkpoint_dir)) return;
    throw ToolError(PL_INVALID_ARGUMENT, "--checkpoint-dir " + options_.checkpoint_dir +
                                             " already holds checkpoints; go on from them with --resume, or choose "
                                             "another folder");
  }
  pl_checkpoint found = {};
  found.struct_size = sizeof(found);
  const pl_status status = pl_trainer_load_checkpoint(trainer_.get(), options_.checkpoint_dir.c_str(), &found);
  if (status == PL_INPUT_MISSING) {
    std::fprintf(stderr, "no checkpoint in %s: training begins\n", options_.checkpoint_dir.c_str());
    return;
  }
  ::pocketlora_run::check(status);
  check_user_state(found.user_state);
  report_resume(found);
  facts_.set_resumed_from(found.step);
  done_ = done_before_ = checkpointed_ = found.step;
  stopped_early_ = found.should_stop != 0;
  best_step_ = found.best_step;
  order_->go_to(static_cast<uint64_t>(done_) * static_cast<uint64_t>(options_.batch_size * options_.accumulation));
}

void TrainingRun::train() {
  resume();
  const InterruptCancels cancels([](void* trainer) { pl_trainer_cancel(static_cast<pl_trainer*>(trainer)); },
                                 trainer_.get());
  started_ = now();
  try {
    run_steps();
    stop_if_interrupted();
  } catch (const Interrupted&) {
    if (!options_.checkpoint_dir.empty() && done_ > 0) {
      checkpoint();
      std::fprintf(stderr, "stopped after step %lld of %lld; the same command with --resume goes on\n",
                   static_cast<long long>(done_), static_cast<long long>(steps_));
    }
    throw;
  }
}

void TrainingRun::run_steps() {
  if (done_ == 0) validate(0);
  while (done_ < steps_ && !stopped_early_) {
    stop_if_interrupted();
    report(one_step());
    validate(done_);
    const bool last = done_ == steps_ || stopped_early_;
    if (!options_.checkpoint_dir.empty() && (last || done_ % options_.checkpoint_every == 0)) checkpoint();
  }
}

// The micro-batches of one optimizer step: so many groups of so many rows, each group packed on its own.
std::vector<MicroBatch> TrainingRun::next_batches() {
  std::vector<MicroBatch> batches;
  for (int64_t group = 0; group < options_.accumulation; ++group) {
    std::vector<const Row*> rows;
    for (int64_t i = 0; i < options_.batch_size; ++i) rows.push_back(&rows_[order_->next()]);
    for (MicroBatch& batch : pack(rows, {info_.train_t_max, info_.max_segments})) batches.push_back(std::move(batch));
  }
  return batches;
}

pl_step_report TrainingRun::one_step() {
  const std::vector<MicroBatch> batches = next_batches();
  const std::vector<pl_batch> views = views_of(batches);
  pl_step_report step = {};
  step.struct_size = sizeof(step);
  const pl_status status = pl_trainer_step(trainer_.get(), views.data(), views.size(), &step);
  if (status == PL_CANCELLED) throw Interrupted();
  check(status);
  done_ = step.step;
  return step;
}

pl_progress TrainingRun::progress() const {
  pl_progress progress = {};
  progress.struct_size = sizeof(progress);
  check(pl_trainer_get_progress(trainer_.get(), &progress));
  return progress;
}

void TrainingRun::report(const pl_step_report& step) {
  loss_ = step.loss;
  log(report_step(step, progress(), engine_memory(engine_)));
}

void TrainingRun::validate(int64_t step) {
  const bool due = step == 0 || step == steps_ || (options_.eval_every > 0 && step % options_.eval_every == 0);
  if (held_out_.empty() || !due) return;
  const std::vector<pl_batch> views = views_of(held_out_);
  pl_validation validation = {};
  validation.struct_size = sizeof(validation);
  check(pl_trainer_validate(trainer_.get(), views.data(), views.size(), &validation));
  log(report_validation(validation));
  best_step_ = validation.best_step;
  stopped_early_ = validation.should_stop != 0;
}

void TrainingRun::checkpoint() {
  if (checkpointed_ == done_) return;
  pl_checkpoint_options options;
  pl_checkpoint_options_init(&options);
  const std::string state = user_state();
  options.keep = options_.keep;
  options.user_state = state.c_str();
  pl_checkpoint written = {};
  written.struct_size = sizeof(written);
  check(pl_trainer_save_checkpoint(trainer_.get(), options_.checkpoint_dir.c_str(), &options, &written));
  report_checkpoint(written);
  checkpointed_ = done_;
}

void TrainingRun::log(const std::string& event) { check(pl_trainer_log_event(trainer_.get(), event.c_str())); }

void TrainingRun::save() {
  const pl_status base = options_.verify_base ? pl_engine_verify_base(engine_) : PL_OK;
  const std::string problem = base == PL_OK ? "" : pl_last_error();
  if (options_.verify_base) facts_.set_base_verified(base == PL_OK);
  const std::string run = facts_.text(options_, steps_);
  pl_artifact_options artifact;
  pl_artifact_options_init(&artifact);
  artifact.best = options_.saves_best() ? 1 : 0;
  artifact.run_json = run.c_str();
  check(pl_trainer_save_artifact(trainer_.get(), options_.output.c_str(), &artifact));
  if (base != PL_OK) throw ToolError(base, "the base has changed while it was trained on: " + problem);
  TrainingEnd end;
  end.steps = done_;
  end.steps_here = done_ - done_before_;
  end.tokens = progress().tokens;
  end.seconds = now() - started_;
  end.loss = loss_;
  end.path = options_.output;
  if (options_.saves_best()) end.best_step = best_step_;
  report_complete(end, engine_memory(engine_));
}

}  // namespace pocketlora_run
