#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace pocketlora_run {

constexpr int64_t kIgnored = -100;

/// One row of a data file: tokens, and labels as Hugging Face has them (the token itself, or -100).
struct Row {
  std::vector<int64_t> tokens;
  std::vector<int64_t> labels;
};

/// What a bundle can take.
struct RowLimits {
  int64_t vocab_size = 0;
  int64_t max_tokens = 0;  ///< train_t_max
};

/// Reads JSON Lines of {"token_ids": [...], "labels": [...]}; without labels every token is one. Empty lines are
/// skipped. Throws ToolError that names file:line of every row that cannot be used (the first 20).
std::vector<Row> read_rows(const std::string& path, const RowLimits& limits);

}  // namespace pocketlora_run
