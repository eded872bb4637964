#include "trainer/evaluate.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <utility>

#include "trainer/pass_memory.h"
#include "trainer/scoring.h"
#include "trainer/step_passes.h"

namespace pocketlora {
namespace {

/// Row i holds the log-probability of token i + 1, which is where it goes; the first token of a segment has none.
void place_logprobs(const BatchView& batch, const std::vector<float>& by_row, Span<float> logprobs) {
  if (logprobs.empty()) return;
  for (size_t s = 0; s + 1 < batch.segments.size(); ++s) {
    const auto begin = static_cast<size_t>(batch.segments[s]);
    const auto end = static_cast<size_t>(batch.segments[s + 1]);
    logprobs[begin] = std::numeric_limits<float>::quiet_NaN();
    for (size_t i = begin + 1; i < end; ++i) logprobs[i] = by_row[i - 1];
  }
}

}  // namespace

Result<EvalReport> evaluate(Engine* engine, std::vector<WeightedAdapter> adapters, const BatchView& batch,
                            Span<float> logprobs) {
  const auto start = std::chrono::steady_clock::now();
  const Manifest& manifest = engine->manifest();
  PL_RETURN_IF_ERROR(check_batch(batch, manifest, "the batch"));
  PL_ASSIGN_OR_RETURN(StageGraph * graph, engine->train_graph());
  PL_ASSIGN_OR_RETURN(const AdapterSet set, AdapterSet::combine(engine->layout(), std::move(adapters)));
  PL_ASSIGN_OR_RETURN(const PassLimits limits, evaluation_limits(engine));
  PL_ASSIGN_OR_RETURN(const std::vector<StepPass> passes,
                      split_passes(batch, limits, "the batch", [&](const std::string& segment, int64_t rows) {
                        return too_long_for_pass(*engine, segment, rows, limits.max_rows);
                      }));
  const int64_t rows = std::min(limits.max_rows, static_cast<int64_t>(batch.tokens.size()));
  PL_ASSIGN_OR_RETURN(const ScoringBuffers buffers, ScoringBuffers::reserve(manifest.model, rows, &engine->account()));
  const ScoringPass scoring = {engine, graph, &buffers, set.sites(), {}, {}};
  std::vector<float> found;  // the caller's buffer is written when everything has succeeded
  for (const StepPass& pass : passes) {
    PL_ASSIGN_OR_RETURN(const std::vector<float> values, scoring.run(pass.view()));
    found.insert(found.end(), values.begin(), values.end());
  }
  EvalReport report;
  report.num_tokens = static_cast<int64_t>(batch.tokens.size());
  report.num_labels = count_labels(batch);
  report.segment_logprobs = sums_by_segment(batch, found);
  for (const double sum : report.segment_logprobs) report.sum_nll -= sum;
  if (!std::isfinite(report.sum_nll)) return error(PL_BACKEND_EXECUTION, "the log-probabilities are not finite");
  place_logprobs(batch, found, logprobs);
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return report;
}

}  // namespace pocketlora
