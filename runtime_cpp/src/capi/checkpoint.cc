#include "capi/capi.h"

using pocketlora::Status;

namespace {

/// Keeps the facts with the trainer, whose texts the caller's struct then points to.
Status give(pl_trainer* trainer, pocketlora::CheckpointFacts found, pl_checkpoint* checkpoint) {
  trainer->checkpoint = std::move(found);
  const pocketlora::CheckpointFacts& kept = trainer->checkpoint;
  trainer->skipped_checkpoints.clear();
  for (const std::string& line : kept.skipped) trainer->skipped_checkpoints += line + "\n";
  if (checkpoint == nullptr) return Status();
  pl_checkpoint facts = {};
  facts.step = kept.step;
  facts.path = kept.path.c_str();
  facts.user_state = kept.user_state.c_str();
  facts.num_skipped = static_cast<int64_t>(kept.skipped.size());
  facts.skipped = trainer->skipped_checkpoints.c_str();
  facts.nbytes = kept.nbytes;
  facts.seconds = kept.seconds;
  facts.should_stop = trainer->trainer->best().should_stop() ? 1 : 0;
  facts.best_step = trainer->trainer->best().state().best_step;
  return pocketlora::write_struct(facts, "checkpoint", checkpoint);
}

}  // namespace

void pl_checkpoint_options_init_sized(pl_checkpoint_options* options, size_t struct_size) {
  constexpr int32_t kKeep = 2;
  pl_checkpoint_options defaults = {};
  defaults.keep = kKeep;
  pocketlora::write_defaults(defaults, options, struct_size);
}

pl_status pl_trainer_save_checkpoint(pl_trainer* trainer, const char* dir, const pl_checkpoint_options* options,
                                     pl_checkpoint* checkpoint) {
  PL_C_REQUIRE(trainer);
  PL_C_REQUIRE(dir);
  PL_C_TRY(pocketlora::check_output_struct(checkpoint, "checkpoint"));
  pl_checkpoint_options read;
  pl_checkpoint_options_init(&read);
  PL_C_TRY(pocketlora::read_struct(options, "options", &read));
  const std::string user_state = read.user_state == nullptr ? "" : read.user_state;
  PL_C_ASSIGN(auto found, trainer->trainer->save_checkpoint(dir, read.keep, user_state));
  return pocketlora::report(give(trainer, std::move(found), checkpoint));
}

pl_status pl_trainer_load_checkpoint(pl_trainer* trainer, const char* dir, pl_checkpoint* checkpoint) {
  PL_C_REQUIRE(trainer);
  PL_C_REQUIRE(dir);
  PL_C_TRY(pocketlora::check_output_struct(checkpoint, "checkpoint"));
  PL_C_ASSIGN(auto found, trainer->trainer->load_checkpoint(dir));
  return pocketlora::report(give(trainer, std::move(found), checkpoint));
}
