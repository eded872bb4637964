#pragma once

#include <memory>

#include "adapters/adapter_layout.h"

namespace pocketlora {

/// Two layers of q_proj [6 -> 4] and down_proj [10 -> 6], ranks up to 8.
inline std::shared_ptr<const AdapterLayout> small_layout() {
  auto layout = std::make_shared<AdapterLayout>();
  for (int64_t layer = 0; layer < 2; ++layer) {
    const std::string prefix = "model.layers." + std::to_string(layer);
    layout->sites.push_back({prefix + ".self_attn.q_proj", layer, "q_proj", 6, 4});
    layout->sites.push_back({prefix + ".mlp.down_proj", layer, "down_proj", 10, 6});
  }
  layout->target_modules = {"q_proj", "down_proj"};
  layout->max_rank = 8;
  layout->base_sha256 = std::string(64, 'a');
  layout->base_model_name = "tiny \"model\"";
  return layout;
}

}  // namespace pocketlora
