// Trainer::validate: held-out batches.

#include <chrono>
#include <limits>

#include "trainer/evaluate.h"
#include "trainer/trainer.h"

namespace pocketlora {

Result<ValidationReport> Trainer::validate(const std::vector<BatchView>& batches) {
  const auto start = std::chrono::steady_clock::now();
  ValidationReport report;
  report.step = state_.step;
  double sum = 0.0;
  for (const BatchView& batch : batches) {
    PL_ASSIGN_OR_RETURN(const EvalReport part, evaluate(engine_.get(), {{adapter_, 1.0F}}, batch, {}));
    sum += part.sum_nll;
    report.num_labels += part.num_labels;
  }
  if (report.num_labels == 0) return error(PL_INVALID_ARGUMENT, "no token of the held-out batches has a label");
  report.loss = sum / static_cast<double>(report.num_labels);
  report.improved = best_.consider(state_.step, report.loss, adapter_);
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return report;
}

}  // namespace pocketlora
