#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "pocketlora/pocketlora.h"

namespace pocketlora_run {

using Json = nlohmann::ordered_json;

/// One JSON value on one line of stdout, at once. Throws ToolError(PL_IO_WRITE) when stdout takes no more.
void print_json(const Json& value);

/// One event of docs/events.md: v, event and time, then `fields`. @return the line, without its end.
std::string print_event(const char* event, const Json& fields);

}  // namespace pocketlora_run
