// Trainer::save_checkpoint, load_checkpoint and save_artifact: what a training needs to go on, and what it leaves
// behind.

#include <memory>
#include <utility>

#include "engine/charged_adapter.h"
#include "trainer/artifact.h"
#include "trainer/trainer.h"

namespace pocketlora {
namespace {

const char* optimizer_name(pl_optimizer kind) {
  switch (kind) {
    case PL_ADAMW:
      return "adamw";
    case PL_SGD:
      return "sgd";
    case PL_ADAMW_8BIT:
      return "adamw-8bit";
    case PL_ADAFACTOR:
      return "adafactor";
    case PL_LION:
      return "lion";
  }
  return "";
}

const char* schedule_name(pl_schedule kind) {
  return kind == PL_SCHEDULE_CONSTANT ? "constant" : kind == PL_SCHEDULE_LINEAR ? "linear" : "cosine";
}

}  // namespace

/// Whatever a step's outcome depends on besides its data, its number and the state itself.
Json Trainer::settings() const {
  const OptimizerOptions& o = options_.settings;
  const AdapterConfig& config = adapter_->config();
  Json settings = {{"base_sha256", engine_->layout()->base_sha256},
                   {"rank", config.rank},
                   {"alpha", config.alpha},
                   {"use_rslora", config.use_rslora},
                   {"target_modules", config.target_modules(*engine_->layout())},
                   {"site_ranks", config.site_ranks},
                   {"dropout", as_written(options_.dropout)},
                   {"seed", options_.seed},
                   {"optimizer", optimizer_name(options_.optimizer)},
                   {"beta1", as_written(o.beta1)},
                   {"beta2", as_written(o.beta2)},
                   {"epsilon", as_written(o.epsilon)},
                   {"weight_decay", as_written(o.weight_decay)},
                   {"momentum", as_written(o.momentum)},
                   {"learning_rate", as_written(o.learning_rate)},
                   {"schedule", schedule_name(options_.schedule.kind)},
                   {"warmup_steps", options_.schedule.warmup_steps},
                   {"max_grad_norm", as_written(options_.max_grad_norm)},
                   {"max_rows", plan_.activations.max_rows},
                   {"activations", float_format_name(plan_.activations.format)}};
  settings["compute"] = compute_name(options_.compute);
  // Kept products come from inputs of blocks as they were, recomputed ones from inputs as they were kept.
  if (plan_.activations.format != FloatFormat::kFloat32) settings["kept_blocks"] = plan_.kept_blocks;
  settings["loss"] = options_.learns_preferences() ? "dpo" : "cross-entropy";
  if (options_.learns_preferences()) {
    settings["beta"] = as_written(options_.preference.beta);
    settings["label_smoothing"] = as_written(options_.preference.label_smoothing);
    settings["reference"] = reference_ == nullptr ? "base" : "adapter " + reference_sha256_;
  }
  // A constant schedule has no end: training may go on for longer than was planned.
  if (options_.schedule.kind != PL_SCHEDULE_CONSTANT) settings["total_steps"] = options_.schedule.total_steps;
  return settings;
}

Result<CheckpointFacts> Trainer::save_checkpoint(const std::string& dir, int64_t keep, const std::string& user_state) {
  if (keep < 1) {
    return error(PL_INVALID_ARGUMENT, "keep: expected 1 or more checkpoints, found %lld", static_cast<long long>(keep));
  }
  // A step that waits at a block goes on waiting; none of this changes before its end.
  const std::lock_guard<std::mutex> held(control_.hold());
  CheckpointSource source;
  source.state = state_;
  source.state.optimizer_steps = optimizer_->steps();
  source.state.best = best_.state();
  source.adapter = adapter_.get();
  source.best = best_.adapter();
  source.optimizer = optimizer_.get();
  source.settings = settings();
  source.user_state = user_state;
  source.metrics = metrics_.text();
  return write_checkpoint(source, dir, keep);
}

Result<CheckpointFacts> Trainer::load_checkpoint(const std::string& dir) {
  PL_ASSIGN_OR_RETURN(CheckpointContents contents,
                      read_checkpoint(dir, engine_->layout(), settings(), optimizer_.get()));
  const bool best_is_current = contents.best == contents.adapter;
  // Nobody else has it yet.
  take_adapter(std::const_pointer_cast<Adapter>(std::move(contents.adapter)));
  state_ = contents.state;
  metrics_ = std::move(contents.metrics);
  Adapter::Pointer best;
  if (best_is_current) {
    best = adapter_;
  } else if (contents.best != nullptr) {
    best = charge_adapter(engine_, std::move(contents.best));
  }
  best_.restore(state_.best, best_.options().keep ? std::move(best) : nullptr);
  has_gradients_ = false;
  Progress facts = control_.progress();
  facts.step = state_.step;
  facts.tokens = state_.tokens;
  facts.skipped_steps = state_.skipped_steps;
  control_.set(facts);
  return std::move(contents.facts);
}

Status Trainer::save_artifact(const std::string& dir, bool best, const std::string& run_json,
                              const std::string& version) const {
  if (best && best_.adapter() == nullptr) {
    return error(PL_INVALID_STATE, "no best adapter is kept: set keep_best, then call pl_trainer_validate");
  }
  ArtifactSource source;
  source.adapter = best ? best_.adapter() : adapter_;
  source.best = best;
  source.adapter_step = best ? best_.state().best_step : state_.step;
  source.steps = state_.step;
  source.skipped_steps = state_.skipped_steps;
  source.tokens = state_.tokens;
  source.manifest = &engine_->manifest();
  source.metrics = &metrics_;
  source.settings = settings();
  source.version = version;
  source.run_json = run_json;
  return write_artifact(source, dir);
}

}  // namespace pocketlora
