#include "capi/compute.h"
#include "capi/trainer_reports.h"

using pocketlora::Result;
using pocketlora::Span;
using pocketlora::Status;
using pocketlora::Trainer;
using pocketlora::TrainerOptions;

namespace {

std::vector<std::string> split_names(const char* text) {
  std::vector<std::string> names;
  std::string name;
  for (const char* c = text; c != nullptr; ++c) {
    if (*c != ',' && *c != '\0') {
      if (*c != ' ') name += *c;
      continue;
    }
    if (!name.empty()) names.push_back(std::move(name));
    name.clear();
    if (*c == '\0') break;
  }
  return names;
}

Result<TrainerOptions> read_options(const pl_trainer_options* given) {
  pl_trainer_options c;
  pl_trainer_options_init(&c);
  PL_RETURN_IF_ERROR(pocketlora::read_struct(given, "options", &c));
  TrainerOptions options;
  options.rank = c.rank;
  options.alpha = static_cast<double>(c.alpha);
  options.target_modules = split_names(c.target_modules);
  options.optimizer = c.optimizer;
  options.settings.learning_rate = c.learning_rate;
  options.settings.beta1 = c.beta1;
  options.settings.beta2 = c.beta2;
  options.settings.epsilon = c.epsilon;
  options.settings.weight_decay = c.weight_decay;
  options.settings.momentum = c.momentum;
  options.dropout = c.dropout;
  options.seed = c.seed;
  options.activations = c.activations;
  options.max_rows = c.max_rows;
  if (c.scratch_dir != nullptr) options.scratch_dir = c.scratch_dir;
  options.activation_limit = c.activation_limit;
  options.schedule = {c.schedule, c.warmup_steps, c.total_steps};
  options.max_grad_norm = c.max_grad_norm;
  options.max_skipped_steps = c.max_skipped_steps;
  options.loss = c.loss;
  options.preference = {c.beta, c.label_smoothing};
  options.recompute = c.recompute;
  options.validation = {c.keep_best != 0, c.patience, pocketlora::as_written(c.min_delta)};
  PL_ASSIGN_OR_RETURN(options.compute, pocketlora::read_compute(c.compute));
  return options;
}

using Compute = Result<pocketlora::StepReport> (Trainer::*)(const std::vector<pocketlora::BatchView>&);

Status compute(Trainer* trainer, Compute method, const pl_batch* micro_batches, size_t n, pl_step_report* report) {
  PL_RETURN_IF_ERROR(pocketlora::check_output_struct(report, "report"));
  PL_ASSIGN_OR_RETURN(const auto views, pocketlora::batch_views(micro_batches, n, "micro_batches"));
  PL_ASSIGN_OR_RETURN(const auto result, (trainer->*method)(views));
  return pocketlora::write_if_wanted(pocketlora::step_report(result), "report", report);
}

}  // namespace

void pl_trainer_options_init_sized(pl_trainer_options* options, size_t struct_size) {
  const TrainerOptions defaults;
  pl_trainer_options written = {};
  written.rank = static_cast<int32_t>(defaults.rank);
  written.alpha = static_cast<float>(defaults.alpha);
  written.optimizer = defaults.optimizer;
  written.learning_rate = defaults.settings.learning_rate;
  written.beta1 = defaults.settings.beta1;
  written.beta2 = defaults.settings.beta2;
  written.epsilon = defaults.settings.epsilon;
  written.beta = defaults.preference.beta;
  written.compute = PL_COMPUTE_FLOAT32;
  pocketlora::write_defaults(written, options, struct_size);
}

pl_status pl_trainer_create(pl_engine* engine, const pl_trainer_options* options, const pl_adapter* init,
                            pl_trainer** out) {
  PL_C_REQUIRE(engine);
  PL_C_REQUIRE(out);
  PL_C_ASSIGN(const auto read, read_options(options));
  PL_C_ASSIGN(auto trainer, Trainer::create(engine->engine, read, init == nullptr ? nullptr : init->adapter));
  *out = new pl_trainer{std::move(trainer), {}, {}};
  return PL_OK;
}

void pl_trainer_free(pl_trainer* trainer) { delete trainer; }

pl_status pl_trainer_get_info(const pl_trainer* trainer, pl_trainer_info* info) {
  PL_C_REQUIRE(trainer);
  PL_C_REQUIRE(info);
  return pocketlora::report(pocketlora::write_struct(pocketlora::trainer_info_of(*trainer->trainer), "info", info));
}

pl_status pl_trainer_cancel(pl_trainer* trainer) {
  PL_C_REQUIRE(trainer);
  trainer->trainer->control().cancel();
  return PL_OK;
}

pl_status pl_trainer_pause(pl_trainer* trainer) {
  PL_C_REQUIRE(trainer);
  trainer->trainer->control().pause();
  return PL_OK;
}

pl_status pl_trainer_resume(pl_trainer* trainer) {
  PL_C_REQUIRE(trainer);
  trainer->trainer->control().resume();
  return PL_OK;
}

pl_status pl_trainer_get_progress(const pl_trainer* trainer, pl_progress* progress) {
  PL_C_REQUIRE(trainer);
  PL_C_REQUIRE(progress);
  const pl_progress facts = pocketlora::progress_report(trainer->trainer->control().progress());
  return pocketlora::report(pocketlora::write_struct(facts, "progress", progress));
}

pl_status pl_trainer_set_learning_rate(pl_trainer* trainer, float learning_rate) {
  PL_C_REQUIRE(trainer);
  return pocketlora::report(trainer->trainer->set_learning_rate(learning_rate));
}

pl_status pl_trainer_step(pl_trainer* trainer, const pl_batch* micro_batches, size_t n, pl_step_report* report) {
  PL_C_REQUIRE(trainer);
  PL_C_REQUIRE(micro_batches);
  return pocketlora::report(compute(trainer->trainer.get(), &Trainer::step, micro_batches, n, report));
}

pl_status pl_trainer_forward_backward(pl_trainer* trainer, const pl_batch* micro_batches, size_t n,
                                      pl_step_report* report) {
  PL_C_REQUIRE(trainer);
  PL_C_REQUIRE(micro_batches);
  return pocketlora::report(compute(trainer->trainer.get(), &Trainer::forward_backward, micro_batches, n, report));
}

pl_status pl_trainer_get_gradient(const pl_trainer* trainer, const char* name, float* out, size_t n) {
  PL_C_REQUIRE(trainer);
  PL_C_REQUIRE(name);
  PL_C_REQUIRE(out);
  return pocketlora::report(trainer->trainer->get_gradient(name, Span<float>(out, n)));
}

pl_status pl_trainer_get_adapter(const pl_trainer* trainer, pl_adapter** out) {
  PL_C_REQUIRE(trainer);
  PL_C_REQUIRE(out);
  *out = new pl_adapter{trainer->trainer->adapter()};
  return PL_OK;
}

pl_status pl_trainer_validate(pl_trainer* trainer, const pl_batch* batches, size_t n, pl_validation* validation) {
  PL_C_REQUIRE(trainer);
  PL_C_REQUIRE(batches);
  PL_C_TRY(pocketlora::check_output_struct(validation, "validation"));
  PL_C_ASSIGN(const auto views, pocketlora::batch_views(batches, n, "batches"));
  PL_C_ASSIGN(const auto report, trainer->trainer->validate(views));
  const pl_validation facts = pocketlora::validation_report(report, *trainer->trainer);
  return pocketlora::report(pocketlora::write_if_wanted(facts, "validation", validation));
}

pl_status pl_trainer_get_best_adapter(const pl_trainer* trainer, pl_adapter** out) {
  PL_C_REQUIRE(trainer);
  PL_C_REQUIRE(out);
  const auto& best = trainer->trainer->best().adapter();
  if (best == nullptr) {
    return pocketlora::report(
        pocketlora::error(PL_INVALID_STATE, "no best adapter is kept: set keep_best, then call pl_trainer_validate"));
  }
  *out = new pl_adapter{best};
  return PL_OK;
}
