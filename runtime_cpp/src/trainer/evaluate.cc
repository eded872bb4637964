#include "trainer/evaluate.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <utility>

#include "bundle/checked_size.h"
#include "trainer/loss_pass.h"
#include "trainer/pass_memory.h"
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

/// What every pass uses: two hidden states and the rotary tables.
struct EvalBuffers {
  ReservedBuffer hidden[2], rope;

  static Result<EvalBuffers> reserve(const ModelFacts& model, int64_t rows, MemoryAccount* account) {
    PL_ASSIGN_OR_RETURN(const size_t hidden, bytes_of({rows, model.hidden_size, sizeof(float)}));
    PL_ASSIGN_OR_RETURN(const size_t rope, bytes_of({rows, model.rope_width(), sizeof(float)}));
    EvalBuffers buffers;
    for (ReservedBuffer& state : buffers.hidden) {
      PL_ASSIGN_OR_RETURN(state, ReservedBuffer::reserve(hidden, account, MemoryPart::kScratch));
    }
    PL_ASSIGN_OR_RETURN(buffers.rope, ReservedBuffer::reserve(rope, account, MemoryPart::kScratch));
    return buffers;
  }
};

Result<std::vector<float>> logprobs_by_row(const Engine& engine, StageGraph* graph, const AdapterSet& set,
                                           const EvalBuffers& buffers, const BatchView& batch) {
  const PackedRows rows = pack_for_logprobs(batch);
  LossPass pass;
  pass.graph = graph;
  pass.model = &engine.manifest().model;
  pass.batch = &batch;
  pass.rows = &rows;
  pass.sites = {set.sites(), {}};
  pass.rope = buffers.rope.as<float>();
  pass.hidden = [&buffers](int64_t layer) { return buffers.hidden[layer % 2].as<float>(); };
  pass.grad_hidden = buffers.hidden[(graph->num_layers() + 1) % 2].as<float>();  // the block's input, no longer needed
  PL_ASSIGN_OR_RETURN(LossPass::Output output, pass.run());
  return std::move(output.logprobs);
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
  PL_ASSIGN_OR_RETURN(const EvalBuffers buffers, EvalBuffers::reserve(manifest.model, rows, &engine->account()));
  std::vector<float> found;  // the caller's buffer is written when everything has succeeded
  for (const StepPass& pass : passes) {
    PL_ASSIGN_OR_RETURN(const std::vector<float> values, logprobs_by_row(*engine, graph, set, buffers, pass.view()));
    found.insert(found.end(), values.begin(), values.end());
  }
  EvalReport report = sum_labels(batch, found);
  if (!std::isfinite(report.sum_nll)) return error(PL_BACKEND_EXECUTION, "the log-probabilities are not finite");
  place_logprobs(batch, found, logprobs);
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return report;
}

}  // namespace pocketlora
