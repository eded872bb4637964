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
  std::vector<int64_t> lengths;  ///< of the rows in a packed row, together all tokens; empty: it is one row

  size_t num_segments() const { return lengths.empty() ? 1 : lengths.size(); }
};

/// What a bundle can take.
struct RowLimits {
  int64_t vocab_size = 0;
  int64_t max_tokens = 0;    ///< train_t_max
  int64_t max_segments = 0;  ///< rows of a packed row
  bool preferences = false;  ///< pairs of answers are expected, each at most max_tokens long; else there are none
};

/// Reads JSON Lines of {"token_ids": [...], "labels": [...], "lengths": [...]}: without labels every token is one,
/// lengths are those of the rows in a packed row (docs/text-rows.md). With limits.preferences, of {"chosen": a row,
/// "rejected": a row}, each of which becomes a packed row of the two. Empty lines are skipped. Throws ToolError that
/// names file:line of every row that cannot be used (the first 20).
std::vector<Row> read_rows(const std::string& path, const RowLimits& limits);

}  // namespace pocketlora_run
