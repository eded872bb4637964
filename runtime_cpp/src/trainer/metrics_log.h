#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/json_access.h"
#include "common/result.h"

namespace pocketlora {

/// Where checkpoints and artifacts keep the log.
inline constexpr char kMetricsFile[] = "training_metrics.jsonl";

/// The events of a training (docs/events.md), a line of JSON each: what training_metrics.jsonl is made of. It goes with
/// the checkpoints, so that a training that was killed and resumed has every step once.
class MetricsLog {
 public:
  /// @param line an object with "event"; one of "progress" has a "step" beyond that of the last one.
  /// @return INVALID_ARGUMENT for anything else.
  Status add(const std::string& line);

  /// Replaces everything. @return INPUT_MALFORMED naming `path` and the line that is not one.
  Status restore(const std::string& text, const std::string& path);

  bool empty() const { return lines_.empty(); }
  /// All lines, each with a line feed.
  std::string text() const;
  /// For metadata.json: loss of the first and the last step, and the first, last and best validation, or nulls.
  nlohmann::ordered_json summary() const;

 private:
  void note(const Json& event, const std::string& kind);

  std::vector<std::string> lines_;
  int64_t last_step_ = 0;
  Json first_loss_, last_loss_;                                ///< null = not known or not finite
  Json first_validation_, last_validation_, best_validation_;  ///< {"step", "loss", "perplexity"}
  bool has_loss_ = false;
};

}  // namespace pocketlora
