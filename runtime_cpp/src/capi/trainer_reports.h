#pragma once

#include <cmath>

#include "capi/capi.h"

// What a trainer says of itself, as the structs of the C API.

namespace pocketlora {

/// Into any struct with the fields of rewards.
template <typename T>
void fill_rewards(const Rewards& rewards, T* facts) {
  facts->chosen_reward = rewards.chosen;
  facts->rejected_reward = rewards.rejected;
  facts->reward_margin = rewards.margin;
  facts->reward_accuracy = rewards.accuracy;
}

/// Into any struct with the fields of pl_memory's parts.
template <typename T>
void fill_parts(const MemoryAccount::Totals& totals, T* facts) {
  const auto part = [&totals](MemoryPart which) { return totals[static_cast<size_t>(which)]; };
  facts->arena = part(MemoryPart::kArena);
  facts->block_inputs = part(MemoryPart::kBlockInputs);
  facts->adapter = part(MemoryPart::kAdapter);
  facts->gradients = part(MemoryPart::kGradients);
  facts->optimizer = part(MemoryPart::kOptimizer);
  facts->kv_cache = part(MemoryPart::kKvCache);
  facts->scratch = part(MemoryPart::kScratch);
  facts->other = part(MemoryPart::kOther);
}

pl_step_report step_report(const StepReport& report);
pl_progress progress_report(const Progress& progress);
/// @param trainer whose best validation it is told with.
pl_validation validation_report(const ValidationReport& report, const Trainer& trainer);
pl_trainer_info trainer_info_of(const Trainer& trainer);

/// Fills a caller's struct that may be null.
template <typename T>
Status write_if_wanted(const T& facts, const char* name, T* to) {
  return to == nullptr ? Status() : write_struct(facts, name, to);
}

}  // namespace pocketlora
