// Trainer::validate: held-out batches.

#include <chrono>
#include <limits>

#include "trainer/evaluate.h"
#include "trainer/trainer.h"

namespace pocketlora {

Result<ValidationReport> Trainer::validate_tokens(const std::vector<BatchView>& batches) {
  ValidationReport report;
  double sum = 0.0;
  for (const BatchView& batch : batches) {
    PL_ASSIGN_OR_RETURN(const EvalReport part, evaluate(engine_.get(), {{adapter_, 1.0F}}, batch, {}));
    sum += part.sum_nll;
    report.num_labels += part.num_labels;
  }
  report.loss = sum / static_cast<double>(report.num_labels);
  return report;
}

Result<ValidationReport> Trainer::validate(const std::vector<BatchView>& batches) {
  const auto start = std::chrono::steady_clock::now();
  PL_ASSIGN_OR_RETURN(ValidationReport report,
                      options_.learns_preferences() ? validate_pairs(batches) : validate_tokens(batches));
  if (report.num_labels == 0) return error(PL_INVALID_ARGUMENT, "no token of the held-out batches has a label");
  report.step = state_.step;
  report.improved = best_.consider(state_.step, report.loss, adapter_);
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return report;
}

}  // namespace pocketlora
