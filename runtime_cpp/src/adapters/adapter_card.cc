#include "adapters/adapter_card.h"

#include "common/json_access.h"

namespace pocketlora {

std::string adapter_card(const AdapterLayout& layout, const AdapterConfig& config, const std::string& training) {
  // A JSON string is a YAML string: whatever the name holds, the front matter stays well-formed.
  std::string text = "---\nlibrary_name: peft\npipeline_tag: text-generation\ntags:\n- lora\n- pocketlora\n";
  if (!layout.base_model_name.empty()) {
    text += "- " + Json("base_model:adapter:" + layout.base_model_name).dump() + "\n";
    text += "base_model: " + Json(layout.base_model_name).dump() + "\n";
  }
  text += "---\n\n# LoRA adapter\n\nTrained with PocketLoRA over a 4-bit base.\n\n";
  text += format("- rank %lld, alpha %g%s\n", static_cast<long long>(config.rank), config.alpha,
                 config.use_rslora ? " (rank-stabilized)" : "");
  text += "- target modules: " + join_names(config.target_modules(layout)) + "\n";
  text += "- SHA-256 of the base (`base.ptd`): `" + layout.base_sha256 + "`\n";
  return training.empty() ? text : text + "\n" + training;
}

}  // namespace pocketlora
