#include "trainer/training_plan.h"

#include "common/test_support.h"

namespace pocketlora {
namespace {

constexpr int64_t kKilo = 1000;

TrainingNeeds small_needs() {
  TrainingNeeds needs;
  needs.costs = {{16, 100 * kKilo, 50 * kKilo, 10 * kKilo},
                 {64, 400 * kKilo, 60 * kKilo, 10 * kKilo},
                 {256, 1600 * kKilo, 90 * kKilo, 20 * kKilo}};
  needs.num_threads = 2;
  needs.num_layers = 10;
  needs.hidden_size = 100;
  needs.rope_width = 20;
  needs.adapter = 300 * kKilo;
  needs.gradients = 310 * kKilo;
  needs.optimizer = 600 * kKilo;
  return needs;
}

TrainingPlan plan_within(int64_t limit, bool may_spill = false) {
  TrainingWishes wishes;
  wishes.memory_limit = limit;
  wishes.may_spill = may_spill;
  const Result<TrainingPlan> plan = plan_training(small_needs(), wishes);
  EXPECT_TRUE(plan.ok()) << plan.status().message();
  EXPECT_LE(plan.value().total(), limit);
  return plan.value();
}

int64_t total_of(int64_t rows, FloatFormat format) {
  TrainingWishes wishes;
  wishes.max_rows = rows;
  wishes.format = format;
  return plan_training(small_needs(), wishes).value().total();
}

int64_t part(const TrainingPlan& plan, MemoryPart which) { return plan.parts[static_cast<size_t>(which)]; }

TEST(TrainingPlan, WithoutALimitItIsTheBundlesLargestPassInFp32) {
  const TrainingPlan plan = plan_training(small_needs(), {}).value();
  EXPECT_EQ(plan.activations.max_rows, 256);
  EXPECT_TRUE(plan.activations.in_place());
  EXPECT_EQ(part(plan, MemoryPart::kArena), 1600 * kKilo);
  EXPECT_GE(part(plan, MemoryPart::kBlockInputs), 11 * 256 * 100 * 4);
  EXPECT_GE(part(plan, MemoryPart::kScratch), 130 * kKilo + 256 * 220 * 4);
}

TEST(TrainingPlan, TakesTheFirstSettingOfTheOrderThatFits) {
  const int64_t all = total_of(256, FloatFormat::kFloat32);
  EXPECT_EQ(plan_within(all).activations.format, FloatFormat::kFloat32);
  const TrainingPlan halves = plan_within(all - 1);
  EXPECT_EQ(halves.activations.max_rows, 256);
  EXPECT_EQ(halves.activations.format, FloatFormat::kFloat16);
  EXPECT_EQ(halves.activations.file_bytes(), 0);
  const int64_t half = total_of(256, FloatFormat::kFloat16);
  EXPECT_EQ(plan_within(half - 1).activations.max_rows, 64);
  const TrainingPlan spilled = plan_within(half - 1, true);
  EXPECT_EQ(spilled.activations.max_rows, 256);
  EXPECT_EQ(spilled.activations.format, FloatFormat::kFloat32);
  EXPECT_GT(spilled.activations.file_bytes(), 0);
}

TEST(TrainingPlan, SpillsNoMoreThanTheLimitAsksFor) {
  const int64_t half = total_of(256, FloatFormat::kFloat16);
  const TrainingPlan plan = plan_within(half - 1, true);
  const int64_t state = plan.activations.stored_state_bytes(256);
  EXPECT_GT(plan.activations.resident_states(256), 0);
  EXPECT_LT(half - 1 - plan.total(), state);  // another one would not fit
}

TEST(TrainingPlan, RefusesWithTheNumbersByPart) {
  const int64_t least = total_of(16, FloatFormat::kFloat16);
  TrainingWishes wishes;
  wishes.memory_limit = least - 1;
  EXPECT_TRUE(fails_with(plan_training(small_needs(), wishes).status(), PL_OUT_OF_MEMORY,
                         {"16 rows a pass", "fp16", "arena 0.1 MB", "optimizer 0.6 MB", std::to_string(least)}));
}

TEST(TrainingPlan, CountsWhatTheEngineHoldsAlready) {
  TrainingNeeds needs = small_needs();
  needs.present[static_cast<size_t>(MemoryPart::kKvCache)] = 5000 * kKilo;
  needs.present[static_cast<size_t>(MemoryPart::kArena)] = 700 * kKilo;
  needs.train_arena_present = 400 * kKilo;  // the rest is another program's
  needs.kernel_scratch_present = 999 * kKilo;
  const TrainingPlan plan = plan_training(needs, {}).value();
  EXPECT_EQ(part(plan, MemoryPart::kKvCache), 5000 * kKilo);
  EXPECT_EQ(part(plan, MemoryPart::kArena), 1600 * kKilo + 300 * kKilo);
  EXPECT_GE(part(plan, MemoryPart::kScratch), 999 * kKilo);
}

/// Each of ten blocks can keep 300 columns.
TrainingNeeds keeping_needs() {
  TrainingNeeds needs = small_needs();
  needs.kept_columns.assign(10, 300);
  return needs;
}

TEST(TrainingPlan, KeepsTheProductsOfAsManyBlocksAsThereIsRoomFor) {
  const int64_t products = 256 * 300 * 4;
  TrainingWishes wishes;
  EXPECT_EQ(plan_training(keeping_needs(), wishes).value().kept_blocks, 0);  // no limit: as before
  wishes.memory_limit = total_of(256, FloatFormat::kFloat32) + 3 * products + products / 2;
  const TrainingPlan plan = plan_training(keeping_needs(), wishes).value();
  EXPECT_EQ(plan.kept_blocks, 3);
  EXPECT_EQ(plan.activations.format, FloatFormat::kFloat32);  // chosen before
  EXPECT_LE(plan.total(), wishes.memory_limit);
  EXPECT_EQ(plan_training(small_needs(), wishes).value().kept_blocks, 0);
  wishes.recompute = PL_RECOMPUTE_FULL;
  EXPECT_EQ(plan_training(keeping_needs(), wishes).value().kept_blocks, 0);
  wishes.recompute = PL_RECOMPUTE_SELECTIVE;  // fewer rows rather than fewer blocks
  EXPECT_EQ(plan_training(keeping_needs(), wishes).value().kept_blocks, 10);
  wishes.memory_limit *= 100;
  wishes.recompute = PL_RECOMPUTE_AUTO;
  EXPECT_EQ(plan_training(keeping_needs(), wishes).value().kept_blocks, 10);
}

TEST(TrainingPlan, RefusesToKeepWhatDoesNotFitOrCannotBeKept) {
  TrainingWishes wishes;
  wishes.recompute = PL_RECOMPUTE_SELECTIVE;
  EXPECT_TRUE(fails_with(plan_training(small_needs(), wishes).status(), PL_INVALID_ARGUMENT,
                         {"recompute", "no methods that keep products"}));
  wishes.max_rows = 256;
  const int64_t least = [&] {
    wishes.format = FloatFormat::kFloat16;
    return plan_training(keeping_needs(), wishes).value().total();
  }();
  EXPECT_EQ(least, total_of(256, FloatFormat::kFloat16) + 10 * 256 * 300 * 4 + 4096);
  wishes.memory_limit = least - 1;
  EXPECT_TRUE(
      fails_with(plan_training(keeping_needs(), wishes).status(), PL_OUT_OF_MEMORY,
                 {"the products of every block kept", "block inputs", "recompute full", std::to_string(least)}));
}

TEST(TrainingPlan, WhatTheCallerFixedStays) {
  TrainingWishes wishes;
  wishes.memory_limit = total_of(64, FloatFormat::kBfloat16);
  wishes.max_rows = 64;
  wishes.format = FloatFormat::kBfloat16;
  const TrainingPlan plan = plan_training(small_needs(), wishes).value();
  EXPECT_EQ(plan.activations.format, FloatFormat::kBfloat16);
  wishes.memory_limit -= 1;
  EXPECT_EQ(plan_training(small_needs(), wishes).status().code(), PL_OUT_OF_MEMORY);
}

TEST(TrainingPlan, RefusesContradictions) {
  TrainingWishes wishes;
  wishes.max_rows = 257;
  wishes.activation_limit = 5;
  EXPECT_TRUE(fails_with(plan_training(small_needs(), wishes).status(), PL_INVALID_ARGUMENT,
                         {"max_rows", "257", "256", "scratch_dir"}));
}

}  // namespace
}  // namespace pocketlora
