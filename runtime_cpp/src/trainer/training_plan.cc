#include "trainer/training_plan.h"

#include <unistd.h>

#include <algorithm>
#include <numeric>

#include "trainer/kept_products.h"

namespace pocketlora {
namespace {

int64_t& part(MemoryAccount::Totals* totals, MemoryPart which) { return (*totals)[static_cast<size_t>(which)]; }

/// Reserved memory comes in whole pages.
int64_t in_pages(int64_t bytes, int64_t buffers) {
  return bytes + buffers * static_cast<int64_t>(::sysconf(_SC_PAGESIZE));
}

const MemoryRow& cost_of(const TrainingNeeds& needs, int64_t rows) {
  const auto enough = [rows](const MemoryRow& cost) { return cost.rows >= rows; };
  const auto found = std::find_if(needs.costs.begin(), needs.costs.end(), enough);
  return found == needs.costs.end() ? needs.costs.back() : *found;
}

Result<TrainingPlan> plan_of(const TrainingNeeds& needs, const ActivationLayout& layout, int64_t kept_blocks) {
  const MemoryRow& cost = cost_of(needs, layout.max_rows);
  TrainingPlan plan;
  plan.activations = layout;
  plan.kept_blocks = kept_blocks;
  plan.parts = needs.present;
  PL_ASSIGN_OR_RETURN(const int64_t block_inputs, layout.memory_bytes());
  part(&plan.parts, MemoryPart::kArena) += std::max<int64_t>(cost.arena - needs.train_arena_present, 0);
  part(&plan.parts, MemoryPart::kBlockInputs) += in_pages(block_inputs, 3);
  if (kept_blocks > 0) {
    part(&plan.parts, MemoryPart::kBlockInputs) +=
        in_pages(KeptProducts::bytes_of(needs.kept_columns, kept_blocks, layout.max_rows), 1);
  }
  part(&plan.parts, MemoryPart::kAdapter) += needs.adapter;
  part(&plan.parts, MemoryPart::kGradients) += needs.gradients;
  part(&plan.parts, MemoryPart::kOptimizer) += needs.optimizer;
  // The table has what lies between the stages of training; an evaluation between two steps needs two states more.
  const int64_t row = (2 * needs.hidden_size + needs.rope_width) * static_cast<int64_t>(sizeof(float));
  const int64_t scratch = cost.scratch + needs.num_threads * cost.scratch_per_thread;
  part(&plan.parts, MemoryPart::kScratch) +=
      in_pages(layout.max_rows * row, 5) + std::max(scratch, needs.kernel_scratch_present);
  return plan;
}

std::string megabytes(int64_t bytes) { return format("%.1f MB", static_cast<double>(bytes) / 1e6); }

std::string setting_text(const TrainingPlan& plan) {
  const ActivationLayout& layout = plan.activations;
  return format("%lld rows a pass, block inputs in %s%s%s", static_cast<long long>(layout.max_rows),
                float_format_name(layout.format), layout.file_bytes() > 0 ? " and in the scratch folder" : "",
                plan.kept_blocks > 0 ? ", the products of every block kept" : "");
}

/// Blocks that keep their products in every setting.
int64_t kept_always(const TrainingNeeds& needs, const TrainingWishes& wishes) {
  return wishes.recompute == PL_RECOMPUTE_SELECTIVE ? needs.num_layers : 0;
}

/// One setting, with as many states in memory as the limit leaves room for when it spills.
Result<TrainingPlan> fitted(const TrainingNeeds& needs, const TrainingWishes& wishes, ActivationLayout layout) {
  const int64_t kept_blocks = kept_always(needs, wishes);
  PL_ASSIGN_OR_RETURN(const TrainingPlan least, plan_of(needs, layout, kept_blocks));
  if (layout.resident_limit != 0 || wishes.memory_limit == 0) return least;
  const int64_t room = wishes.memory_limit - least.total();
  if (room <= 0) return least;
  layout.resident_limit = wishes.activation_limit > 0 ? std::min(room, wishes.activation_limit) : room;
  return plan_of(needs, layout, kept_blocks);
}

/// A plan that fits, with as many blocks keeping their products as the limit leaves room for.
Result<TrainingPlan> keeping(const TrainingNeeds& needs, const TrainingWishes& wishes, TrainingPlan plan) {
  if (wishes.recompute != PL_RECOMPUTE_AUTO || wishes.memory_limit == 0 || needs.kept_columns.empty()) return plan;
  for (int64_t blocks = needs.num_layers; blocks > 0; --blocks) {
    PL_ASSIGN_OR_RETURN(TrainingPlan more, plan_of(needs, plan.activations, blocks));
    if (more.total() <= wishes.memory_limit) return more;
  }
  return plan;
}

Status refusal(const TrainingWishes& wishes, const TrainingPlan& smallest) {
  const std::string advice = std::string(wishes.may_spill ? "" : ", or a scratch folder for block inputs") +
                             (smallest.kept_blocks > 0 ? ", or products that are computed again (recompute full)" : "");
  return error(PL_OUT_OF_MEMORY,
               "training does not fit the memory limit of %s: the smallest setting (%s) needs %s: %s. A limit of %lld "
               "bytes would do, or a smaller rank%s",
               megabytes(wishes.memory_limit).c_str(), setting_text(smallest).c_str(),
               megabytes(smallest.total()).c_str(), parts_text(smallest.parts).c_str(),
               static_cast<long long>(smallest.total()), advice.c_str());
}

std::vector<int64_t> row_choices(const TrainingNeeds& needs, const TrainingWishes& wishes) {
  if (wishes.max_rows > 0) return {wishes.max_rows};
  if (wishes.memory_limit == 0) return {needs.costs.back().rows};
  std::vector<int64_t> rows;
  for (auto cost = needs.costs.rbegin(); cost != needs.costs.rend(); ++cost) rows.push_back(cost->rows);
  return rows;
}

Status check_wishes(const TrainingNeeds& needs, const TrainingWishes& wishes) {
  ProblemList problems;
  if (wishes.max_rows < 0 || wishes.max_rows > needs.costs.back().rows) {
    problems.addf("max_rows: expected 0 to %lld, the bundle's largest pass, found %lld",
                  static_cast<long long>(needs.costs.back().rows), static_cast<long long>(wishes.max_rows));
  }
  if (wishes.activation_limit < 0) {
    problems.addf("activation_limit: expected 0 or more bytes, found %lld",
                  static_cast<long long>(wishes.activation_limit));
  }
  if (wishes.activation_limit > 0 && !wishes.may_spill) {
    problems.add("activation_limit needs a scratch_dir for what is beyond it");
  }
  if (wishes.recompute == PL_RECOMPUTE_SELECTIVE && needs.kept_columns.empty()) {
    problems.add(
        "recompute: the bundle has no methods that keep products (forward_keep, backward_kept), so that it can "
        "only be full or auto; export it again");
  }
  return problems.to_status(PL_INVALID_ARGUMENT, "trainer options:");
}

}  // namespace

int64_t TrainingPlan::total() const { return std::accumulate(parts.begin(), parts.end(), int64_t{0}); }

std::string parts_text(const MemoryAccount::Totals& parts) {
  constexpr const char* kNames[] = {"arena",     "block inputs", "adapter", "gradients",
                                    "optimizer", "KV cache",     "scratch", "other"};
  std::string text;
  for (size_t i = 0; i < parts.size(); ++i) {
    if (parts[i] > 0) text += (text.empty() ? "" : ", ") + std::string(kNames[i]) + " " + megabytes(parts[i]);
  }
  return text;
}

Result<TrainingPlan> plan_training(const TrainingNeeds& needs, const TrainingWishes& wishes) {
  PL_RETURN_IF_ERROR(check_wishes(needs, wishes));
  ActivationLayout layout;
  layout.num_layers = needs.num_layers;
  layout.hidden_size = needs.hidden_size;
  std::optional<TrainingPlan> smallest;
  for (const int64_t rows : row_choices(needs, wishes)) {
    for (const bool spills : {false, true}) {
      if (spills && !wishes.may_spill) continue;
      for (const FloatFormat choice : {FloatFormat::kFloat32, FloatFormat::kFloat16}) {
        if (wishes.format.has_value() && choice == FloatFormat::kFloat16) continue;
        layout.max_rows = rows;
        layout.format = wishes.format.value_or(choice);
        layout.resident_limit = spills ? 0 : wishes.activation_limit > 0 ? wishes.activation_limit : -1;
        PL_ASSIGN_OR_RETURN(TrainingPlan plan, fitted(needs, wishes, layout));
        if (wishes.memory_limit == 0 || plan.total() <= wishes.memory_limit) return keeping(needs, wishes, plan);
        if (!smallest.has_value() || plan.total() < smallest->total()) smallest = std::move(plan);
      }
    }
  }
  return refusal(wishes, *smallest);
}

}  // namespace pocketlora
