#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <vector>

#include "events.h"
#include "handles.h"

namespace pocketlora_run {

/// What to continue and how: shared by `generate` and `swap`.
struct GenerateOptions {
  std::vector<int64_t> prompt;
  int64_t max_new_tokens = 128;
  float temperature = 0;
  float top_p = 1;
  uint64_t seed = 0;
  std::vector<int64_t> stop;  ///< empty = the bundle's

  void add_to(CLI::App* command);
};

/// Generates in `session`. @return token_ids, prompt_tokens, new_tokens, stop_reason, prefill_seconds, decode_seconds,
/// tokens_per_second. Throws Interrupted when Ctrl-C was pressed.
Json generate(pl_session* session, const GenerateOptions& options);

}  // namespace pocketlora_run
