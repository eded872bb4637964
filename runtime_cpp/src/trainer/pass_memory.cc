#include "trainer/pass_memory.h"

#include <algorithm>
#include <numeric>

#include "kernels/common/scratch.h"

namespace pocketlora {

Result<TrainingNeeds> present_needs(Engine* engine, StageGraph* graph) {
  if (engine->memory_limit() > 0) PL_RETURN_IF_ERROR(graph->load_all());
  const ModelFacts& model = engine->manifest().model;
  TrainingNeeds needs;
  needs.costs = graph->program().memory_rows;
  needs.num_threads = engine->num_threads();
  needs.num_layers = model.num_layers;
  needs.hidden_size = model.hidden_size;
  needs.rope_width = model.rope_width();
  needs.kept_columns = graph->kept_columns();
  needs.present = engine->account().committed();
  needs.train_arena_present = graph->arena_resident();
  needs.kernel_scratch_present = scratch_bytes_in_use();
  return needs;
}

namespace {

/// Of an evaluation with so many rows, everything that the engine holds included.
int64_t evaluation_bytes(const TrainingNeeds& needs, const MemoryRow& cost) {
  const int64_t held = std::accumulate(needs.present.begin(), needs.present.end(), int64_t{0});
  const int64_t row = (2 * needs.hidden_size + needs.rope_width) * static_cast<int64_t>(sizeof(float));
  constexpr int64_t kPageRounding = 3 * 4096;
  const int64_t kernels = cost.scratch + needs.num_threads * cost.scratch_per_thread;
  return held + std::max<int64_t>(cost.arena - needs.train_arena_present, 0) + cost.rows * row + kPageRounding +
         std::max(kernels, needs.kernel_scratch_present);
}

}  // namespace

Result<PassLimits> evaluation_limits(Engine* engine) {
  const Limits& bundle = engine->manifest().limits;
  PassLimits limits = {bundle.train_t_min, bundle.train_t_max, bundle.max_segments};
  if (engine->memory_limit() == 0) return limits;
  const int64_t planned = engine->rows_cap().least();
  if (planned > 0) {  // a trainer's plan has room for an evaluation with its own rows
    limits.max_rows = planned;
    return limits;
  }
  PL_ASSIGN_OR_RETURN(StageGraph * graph, engine->train_graph());
  PL_ASSIGN_OR_RETURN(const TrainingNeeds needs, present_needs(engine, graph));
  for (auto cost = needs.costs.rbegin(); cost != needs.costs.rend(); ++cost) {
    limits.max_rows = cost->rows;
    if (evaluation_bytes(needs, *cost) <= engine->memory_limit()) return limits;
  }
  return error(PL_OUT_OF_MEMORY,
               "evaluation does not fit the memory limit of %lld bytes: with %lld rows a pass it needs %lld",
               static_cast<long long>(engine->memory_limit()), static_cast<long long>(needs.costs.front().rows),
               static_cast<long long>(evaluation_bytes(needs, needs.costs.front())));
}

Status too_long_for_pass(const Engine& engine, const std::string& segment, int64_t rows, int64_t max_rows) {
  const int64_t bundle = engine.manifest().limits.train_t_max;
  if (rows > bundle) return too_long_for_bundle(segment, rows, bundle);
  if (engine.memory_limit() > 0) {
    return error(PL_OUT_OF_MEMORY,
                 "%s has %lld tokens: a pass has at most %lld rows under the memory limit of %lld bytes",
                 segment.c_str(), static_cast<long long>(rows), static_cast<long long>(max_rows),
                 static_cast<long long>(engine.memory_limit()));
  }
  return error(PL_SEQUENCE_TOO_LONG, "%s has %lld tokens: the trainer's max_rows is %lld", segment.c_str(),
               static_cast<long long>(rows), static_cast<long long>(max_rows));
}

}  // namespace pocketlora
