#pragma once

#include <string>

namespace pocketlora_run {

/// Finds out before any work whether an adapter can be written to `output`. A new or empty folder is fine; one that
/// holds an adapter is replaced with `force` only; one that holds anything else is refused. Throws ToolError.
void check_output(const std::string& output, bool force);

}  // namespace pocketlora_run
