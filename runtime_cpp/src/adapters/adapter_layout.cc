#include "adapters/adapter_layout.h"

namespace pocketlora {

std::string peft_tensor_name(const std::string& site, char matrix) {
  return "base_model.model." + site + ".lora_" + matrix + ".weight";
}

bool matches_target(const std::string& site, const std::string& target) {
  if (target.empty() || site.size() < target.size()) return false;
  const size_t start = site.size() - target.size();
  return site.compare(start, target.size(), target) == 0 && (start == 0 || site[start - 1] == '.');
}

bool matches_target_or_preset(const std::string& site, const std::string& target) {
  if (target == "all-linear") return true;
  if (target == "attention") return site.find(".self_attn.") != std::string::npos;
  return matches_target(site, target);
}

std::string join_names(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

}  // namespace pocketlora
