#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "events.h"
#include "handles.h"
#include "texts.h"

namespace pocketlora_run {

/// What to continue and how: shared by `generate` and `swap`.
struct GenerateOptions {
  std::vector<int64_t> prompt;
  std::string prompt_text;  ///< instead of `prompt`, for a bundle with a compact tokenizer
  int64_t max_new_tokens = 128;
  float temperature = 0;
  float top_p = 1;
  int64_t top_k = 0;
  float min_p = 0;
  float repetition_penalty = 1;
  uint64_t seed = 0;
  std::vector<int64_t> stop;            ///< empty = the bundle's
  std::vector<std::string> stop_texts;  ///< the text ends before the first of them

  void add_to(CLI::App* command);
  /// Makes `prompt` of `prompt_text` when there is one. @param engine of `bundle`. @return the bundle's tokenizer, null
  /// when it has none. Throws INPUT_UNSUPPORTED for a text that the bundle cannot take.
  std::unique_ptr<Texts> resolve(const std::string& bundle, const pl_engine* engine);
};

/// Generates in `session`. @param texts may be null. @return token_ids, text (with `texts`), prompt_tokens, new_tokens,
/// stop_reason, prefill_seconds, decode_seconds, tokens_per_second. Throws Interrupted when Ctrl-C was pressed.
Json generate(pl_session* session, const GenerateOptions& options, const Texts* texts);

}  // namespace pocketlora_run
