#include "trainer/evaluate.h"

#include <chrono>
#include <cmath>
#include <limits>
#include <utility>

#include "trainer/loss_pass.h"

namespace pocketlora {
namespace {

/// Row i holds the log-probability of token i + 1; moves it there, and sums what is unmasked.
EvalReport gather(const BatchView& batch, const std::vector<float>& by_row, Span<float> logprobs) {
  EvalReport report;
  report.num_tokens = static_cast<int64_t>(batch.tokens.size());
  for (size_t s = 0; s + 1 < batch.segments.size(); ++s) {
    const auto begin = static_cast<size_t>(batch.segments[s]);
    const auto end = static_cast<size_t>(batch.segments[s + 1]);
    if (!logprobs.empty()) logprobs[begin] = std::numeric_limits<float>::quiet_NaN();
    for (size_t i = begin + 1; i < end; ++i) {
      if (!logprobs.empty()) logprobs[i] = by_row[i - 1];
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
  const auto row_count = static_cast<size_t>(batch.tokens.size());
  const size_t hidden = row_count * static_cast<size_t>(manifest.model.hidden_size) * sizeof(float);
  const size_t rope = row_count * static_cast<size_t>(manifest.model.head_dim) * sizeof(float);
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
  EvalReport report = gather(batch, output.logprobs, logprobs);
  if (!std::isfinite(report.sum_nll)) return error(PL_BACKEND_EXECUTION, "the log-probabilities are not finite");
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return report;
}

}  // namespace pocketlora
