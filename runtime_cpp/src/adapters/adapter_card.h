#pragma once

#include <string>

#include "adapters/adapter_config.h"
#include "adapters/adapter_layout.h"

namespace pocketlora {

/// README.md of an adapter folder: a model card of the Hugging Face hub. @param training a section of Markdown that is
/// put at its end, "" = none.
std::string adapter_card(const AdapterLayout& layout, const AdapterConfig& config, const std::string& training);

}  // namespace pocketlora
