#include "trainer/trainer.h"

#include <chrono>
#include <cmath>
#include <utility>

#include "engine/charged_adapter.h"

namespace pocketlora {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

Status not_finite(int64_t step, const StepReport& report) {
  return error(PL_BACKEND_EXECUTION, "step %lld: %s is not finite; the adapter is unchanged",
               static_cast<long long>(step), std::isfinite(report.loss) ? "the gradient" : "the loss");
}

}  // namespace

void Trainer::take_adapter(std::shared_ptr<Adapter> adapter) {
  adapter_ = charge_adapter(engine_, std::move(adapter));
  views_.clear();
  for (const AdapterSite& site : adapter_->tensors().sites()) views_.push_back({site.rank, site.a, site.b, site.scale});
}

Status Trainer::make_writable() {
  if (adapter_.use_count() == 1) return Status();
  const bool planned = adapter_.use_count() == 2 && best_.adapter() == adapter_;
  const int64_t limit = engine_->memory_limit();
  if (!planned && limit > 0 && plan_.total() + adapter_->nbytes() > limit) {
    return error(PL_OUT_OF_MEMORY,
                 "a snapshot of the adapter is held: another copy of %lld bytes does not fit the memory limit of %lld; "
                 "release the snapshot first",
                 static_cast<long long>(adapter_->nbytes()), static_cast<long long>(limit));
  }
  PL_ASSIGN_OR_RETURN(AdapterTensors copy, adapter_->clone_tensors());
  take_adapter(Adapter::from_tensors(engine_->layout(), adapter_->config(), std::move(copy)));
  return Status();
}

Status Trainer::set_learning_rate(float learning_rate) {
  if (!std::isfinite(learning_rate) || learning_rate < 0.0F) {
    return error(PL_INVALID_ARGUMENT, "learning_rate: expected 0 or more, found %g",
                 static_cast<double>(learning_rate));
  }
  state_.learning_rate = learning_rate;
  return Status();
}

Result<StepReport> Trainer::forward_backward(const std::vector<BatchView>& micro_batches) {
  const Clock::time_point start = Clock::now();
  PL_ASSIGN_OR_RETURN(StepReport report, compute(micro_batches));
  if (!report.finite) return not_finite(state_.step + 1, report);
  report.seconds = seconds_since(start) - control_.paused_seconds();
  return report;
}

Result<StepReport> Trainer::step(const std::vector<BatchView>& micro_batches) {
  const Clock::time_point start = Clock::now();
  PL_RETURN_IF_ERROR(make_writable());
  PL_ASSIGN_OR_RETURN(StepReport report, compute(micro_batches));
  if (control_.take_cancel()) return cancelled();
  report.learning_rate = as_written(state_.learning_rate) * options_.schedule.factor(state_.step);
  if (report.finite) {
    gradients_->clip(report.grad_norm, as_written(options_.max_grad_norm));
    optimizer_->set_learning_rate(report.learning_rate);
    PL_RETURN_IF_ERROR(optimizer_->step(gradients_->with_parameters(adapter_->tensors())));
    state_.skipped_in_row = 0;
  } else {
    PL_RETURN_IF_ERROR(skip(&report));
  }
  report.step = ++state_.step;
  state_.tokens += report.num_tokens;
  report.seconds = seconds_since(start) - control_.paused_seconds();
  note_progress(report);
  return report;
}

Status Trainer::skip(StepReport* report) {
  if (state_.skipped_in_row >= options_.max_skipped_steps) return not_finite(state_.step + 1, *report);
  ++state_.skipped_in_row;
  report->skipped_steps = ++state_.skipped_steps;
  report->skipped = true;
  return Status();
}

void Trainer::note_progress(const StepReport& report) {
  pace_.add(report.num_tokens, report.seconds);
  Progress facts;
  facts.step = state_.step;
  facts.total_steps = options_.schedule.total_steps;
  facts.loss = report.loss;
  facts.grad_norm = report.grad_norm;
  facts.learning_rate = report.learning_rate;
  facts.tokens = state_.tokens;
  facts.skipped_steps = state_.skipped_steps;
  facts.rewards = report.rewards;
  pace_.fill(&facts);
  control_.set(facts);
}

Status Trainer::get_gradient(const std::string& name, Span<float> out) const {
  if (!has_gradients_) return error(PL_INVALID_STATE, "there are no gradients: no step has been computed");
  return gradients_->copy(name, out);
}

}  // namespace pocketlora
