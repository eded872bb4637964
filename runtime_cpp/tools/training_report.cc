#include "training_report.h"

#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <sstream>

#include "commands.h"
#include "compute_names.h"
#include "events.h"
#include "name_of.h"
#include "train_options.h"

namespace pocketlora_run {
namespace {

long long number(int64_t value) { return static_cast<long long>(value); }

/// JSON has no NaN.
Json finite(double value) { return std::isfinite(value) ? Json(value) : Json(); }

int64_t major_faults() {
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_majflt;
}

std::string fixed(double value) {
  std::array<char, 64> text = {};
  std::snprintf(text.data(), text.size(), "%.3f", value);
  return text.data();
}

/// The rewards of a struct that has them.
template <typename T>
void add_rewards(const T& report, Json* fields) {
  if (report.num_pairs == 0) return;
  (*fields)["chosen_reward"] = finite(report.chosen_reward);
  (*fields)["rejected_reward"] = finite(report.rejected_reward);
  (*fields)["reward_margin"] = finite(report.reward_margin);
  (*fields)["reward_accuracy"] = report.reward_accuracy;
}

/// ", reward margin 0.1234, accuracy 0.75"; nothing where there are no pairs.
template <typename T>
std::string rewards_text(const T& report) {
  if (report.num_pairs == 0) return "";
  std::array<char, 96> text = {};
  std::snprintf(text.data(), text.size(), ", reward margin %.4f, accuracy %.2f", report.reward_margin,
                report.reward_accuracy);
  return text.data();
}

}  // namespace

void report_plan(const pl_trainer_info& plan) {
  const std::string format = activations_name(plan.activations);
  print_event("plan", {{"max_rows", plan.max_rows},
                       {"activations", format},
                       {"streams_weights", plan.streams_weights != 0},
                       {"spilled", plan.spilled},
                       {"memory_limit", plan.memory_limit},
                       {"planned", plan.planned},
                       {"arena", plan.arena},
                       {"block_inputs", plan.block_inputs},
                       {"adapter", plan.adapter},
                       {"gradients", plan.gradients},
                       {"optimizer", plan.optimizer},
                       {"kv_cache", plan.kv_cache},
                       {"scratch", plan.scratch},
                       {"other", plan.other},
                       {"kept_blocks", plan.kept_blocks},
                       {"compute", name_of(kComputes, plan.compute)},
                       {"step_compute", name_of(kComputes, plan.step_compute)}});
  const std::string kept =
      plan.kept_blocks > 0 ? ", products of " + std::to_string(plan.kept_blocks) + " layers kept" : "";
  std::fprintf(stderr, "%lld rows a pass, layers' inputs in %s%s%s%s; %.1f MB planned\n", number(plan.max_rows),
               format.c_str(), plan.spilled > 0 ? " and a scratch file" : "", kept.c_str(),
               plan.streams_weights != 0 ? ", weights streamed" : "", static_cast<double>(plan.planned) / 1e6);
  if (plan.step_compute != plan.compute) {
    std::fprintf(stderr, "%s is computed as %s on this machine\n", name_of(kComputes, plan.compute).c_str(),
                 name_of(kComputes, plan.step_compute).c_str());
  }
}

std::string report_step(const pl_step_report& step, const pl_progress& progress, const pl_memory& memory) {
  const double rate = step.seconds > 0 ? static_cast<double>(step.num_tokens) / step.seconds : 0;
  Json fields = {{"step", step.step},
                 {"steps", progress.total_steps},
                 {"loss", finite(step.loss)},
                 {"learning_rate", step.learning_rate},
                 {"tokens", progress.tokens},
                 {"tokens_per_second", rate},
                 {"grad_norm", finite(step.grad_norm)},
                 {"seconds_left", progress.seconds_left},
                 {"skipped_steps", step.skipped_steps},
                 {"rss_anon", memory.rss_anon},
                 {"rss_file", memory.rss_file}};
  add_rewards(step, &fields);
  std::string line = print_event("progress", fields);
  std::fprintf(stderr, "step %lld of %lld: loss %.4f%s, %.0f tokens/s, %.0f s left\n", number(step.step),
               number(progress.total_steps), step.loss, rewards_text(step).c_str(), rate, progress.seconds_left);
  if (step.skipped != 0) {
    report_warning(PL_BACKEND_EXECUTION, "step " + std::to_string(step.step) +
                                             " was left out: its loss or gradient is not finite; the adapter is as it "
                                             "was before");
  }
  return line;
}

std::string report_validation(const pl_validation& v) {
  Json fields = {{"step", v.step},
                 {"loss", finite(v.loss)},
                 {"perplexity", finite(v.perplexity)},
                 {"tokens", v.num_labels},
                 {"improved", v.improved != 0},
                 {"best_step", v.best_step},
                 {"best_loss", finite(v.best_loss)}};
  add_rewards(v, &fields);
  std::string line = print_event("validation", fields);
  const std::string more = v.num_pairs > 0 ? rewards_text(v) : ", perplexity " + fixed(v.perplexity);
  std::fprintf(stderr, "step %lld: held-out loss %.4f%s%s\n", number(v.step), v.loss, more.c_str(),
               v.should_stop != 0 ? "; no improvement any more" : "");
  return line;
}

void report_checkpoint(const pl_checkpoint& checkpoint) {
  print_event("checkpoint", {{"step", checkpoint.step},
                             {"path", checkpoint.path},
                             {"bytes", checkpoint.nbytes},
                             {"seconds", checkpoint.seconds}});
  std::fprintf(stderr, "step %lld: checkpoint written to %s\n", number(checkpoint.step), checkpoint.path);
}

void report_resume(const pl_checkpoint& checkpoint) {
  std::istringstream lines(checkpoint.skipped);
  for (std::string line; std::getline(lines, line);) report_warning(PL_INPUT_MALFORMED, "passed over: " + line);
  print_event("resume", {{"step", checkpoint.step}, {"path", checkpoint.path}, {"skipped", checkpoint.num_skipped}});
  std::fprintf(stderr, "going on after step %lld from %s\n", number(checkpoint.step), checkpoint.path);
}

void report_warning(pl_status code, const std::string& message) {
  print_event("warning", {{"code", static_cast<int>(code)}, {"message", message}});
  std::fprintf(stderr, "warning: %s\n", message.c_str());
}

void report_complete(const TrainingEnd& end, const pl_memory& memory) {
  Json fields = {{"steps", end.steps},
                 {"tokens", end.tokens},
                 {"seconds", end.seconds},
                 {"path", end.path},
                 {"loss", finite(end.loss)},
                 {"seconds_per_step", end.seconds / static_cast<double>(std::max<int64_t>(end.steps_here, 1))},
                 {"major_faults", major_faults()},
                 {"memory", memory_json(memory)}};
  if (end.best_step >= 0) fields["best_step"] = end.best_step;
  print_event("complete", fields);
  std::fprintf(stderr, "%lld steps, %lld tokens in %.1f s: loss %.4f; adapter%s written to %s\n", number(end.steps),
               number(end.tokens), end.seconds, end.loss,
               end.best_step >= 0 ? (" of step " + std::to_string(end.best_step)).c_str() : "", end.path.c_str());
}

}  // namespace pocketlora_run
