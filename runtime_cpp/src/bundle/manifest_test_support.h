#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace pocketlora {

/// A small manifest that is valid: one layer, one adapter site, a train and an infer program.
nlohmann::json valid_manifest();

}  // namespace pocketlora
