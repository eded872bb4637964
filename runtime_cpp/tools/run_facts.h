#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "events.h"
#include "rows.h"

namespace pocketlora_run {

struct TrainOptions;

/// What a run tells of itself in metadata.json (docs/artifact.md, `run`). The Python command writes the same keys.
class RunFacts {
 public:
  RunFacts();

  /// A data file: its hash and how much is in it, none of its content. @param role "train", "valid"
  void add_data(const std::string& role, const std::string& path, const std::vector<Row>& rows);
  void set_resumed_from(int64_t step) { resumed_from_ = step; }
  void set_base_verified(bool verified) { base_verified_ = verified; }
  /// The JSON object. @param steps optimizer steps that were asked for
  std::string text(const TrainOptions& options, int64_t steps) const;

 private:
  int64_t started_;  ///< seconds since the epoch
  Json data_ = Json::array();
  Json resumed_from_, base_verified_;  ///< null = it was not
};

}  // namespace pocketlora_run
