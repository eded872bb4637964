#pragma once

#include <string>

#include "store/atomic_file.h"

namespace pocketlora {

inline constexpr char kAdapterChecksumsFile[] = "checksums.json";

/// Adds checksums.json (docs/artifact.md): size and SHA-256 of every file that was announced.
Status add_adapter_checksums(AtomicDirectory* folder);

/// Holds adapter_config.json and adapter_model.safetensors to the folder's checksums.json. A folder without one, as
/// other tools write them, is fine; what is missing is for the reader to say.
/// @return ADAPTER_CORRUPT with everything that is not as it was written.
Status check_adapter_checksums(const std::string& dir);

}  // namespace pocketlora
