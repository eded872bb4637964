#pragma once

#include <cstdint>
#include <string>

#include "adapters/adapter.h"
#include "bundle/manifest.h"
#include "common/json_access.h"
#include "trainer/metrics_log.h"

namespace pocketlora {

/// What the folder of a run is written from (docs/artifact.md).
struct ArtifactSource {
  Adapter::Pointer adapter;
  bool best = false;         ///< whether it is the one of the best validation
  int64_t adapter_step = 0;  ///< after which step it was like this
  int64_t steps = 0, skipped_steps = 0, tokens = 0;
  const Manifest* manifest = nullptr;
  const MetricsLog* metrics = nullptr;
  Json settings;         ///< of the trainer
  std::string version;   ///< of this library
  std::string run_json;  ///< an object: what the caller knows of the run
};

/// Writes the adapter, metadata.json, training_metrics.jsonl and checksums.json to `dir` as one thing.
/// @return INVALID_ARGUMENT when run_json is not an object.
Status write_artifact(const ArtifactSource& source, const std::string& dir);

}  // namespace pocketlora
