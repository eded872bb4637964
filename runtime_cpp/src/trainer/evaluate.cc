#include "trainer/evaluate.h"

#include <chrono>
#include <cmath>
#include <limits>
#include <utility>

#include "bundle/checked_size.h"
#include "trainer/loss_pass.h"

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

/// Sums what is unmasked.
EvalReport sum_labels(const BatchView& batch, const std::vector<float>& by_row) {
  EvalReport report;
  report.num_tokens = static_cast<int64_t>(batch.tokens.size());
  for (size_t s = 0; s + 1 < batch.segments.size(); ++s) {
    const auto begin = static_cast<size_t>(batch.segments[s]);
    const auto end = static_cast<size_t>(batch.segments[s + 1]);
    for (size_t i = begin + 1; i < end; ++i) {
      if (batch.labels[i] == kIgnoredLabel) continue;
      report.sum_nll -= static_cast<double>(by_row[i - 1]);
      ++report.num_labels;
    }
  }
  return report;
}

}  // namespace

Result<EvalReport> evaluate(Engine* engine, std::vector<WeightedAdapter> adapters, const BatchView& batch,
                            Span<float> logprobs) {
  const auto start = std::chrono::steady_clock::now();
  const Manifest& manifest = engine->manifest();
  PL_RETURN_IF_ERROR(check_batch(batch, manifest, "the batch"));
  PL_ASSIGN_OR_RETURN(StageGraph * graph, engine->train_graph());
  PL_ASSIGN_OR_RETURN(const AdapterSet set, AdapterSet::combine(engine->layout(), std::move(adapters)));

  const PackedRows rows = pack_for_logprobs(batch);
  const auto row_count = static_cast<int64_t>(batch.tokens.size());
  PL_ASSIGN_OR_RETURN(const size_t hidden, bytes_of({row_count, manifest.model.hidden_size, sizeof(float)}));
  PL_ASSIGN_OR_RETURN(const size_t rope, bytes_of({row_count, manifest.model.head_dim, sizeof(float)}));
  ReservedBuffer buffers[3];
  for (ReservedBuffer& buffer : buffers) {
    const size_t bytes = &buffer == &buffers[2] ? rope : hidden;
    PL_ASSIGN_OR_RETURN(buffer, ReservedBuffer::reserve(bytes, &engine->account(), MemoryPart::kScratch));
  }
  LossPass pass;
  pass.graph = graph;
  pass.model = &manifest.model;
  pass.batch = &batch;
  pass.rows = &rows;
  pass.sites = {set.sites(), {}};
  pass.rope = buffers[2].as<float>();
  pass.hidden = [&buffers](int64_t layer) { return buffers[layer % 2].as<float>(); };
  pass.grad_hidden = buffers[(graph->num_layers() + 1) % 2].as<float>();  // the block's input, no longer needed
  PL_ASSIGN_OR_RETURN(const LossPass::Output output, pass.run());
  EvalReport report = sum_labels(batch, output.logprobs);
  if (!std::isfinite(report.sum_nll)) return error(PL_BACKEND_EXECUTION, "the log-probabilities are not finite");
  place_logprobs(batch, output.logprobs, logprobs);
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return report;
}

}  // namespace pocketlora
