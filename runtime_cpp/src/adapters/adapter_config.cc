#include "adapters/adapter_config.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <nlohmann/json.hpp>

namespace pocketlora {
namespace {

bool any_site_matches(const AdapterLayout& layout, const std::string& target) {
  return std::any_of(layout.sites.begin(), layout.sites.end(),
                     [&](const AdapterSiteLayout& site) { return matches_target_or_preset(site.name, target); });
}

// An integral alpha is written as PEFT writes it: 32, not 32.0.
nlohmann::ordered_json number(double value) {
  if (value == std::floor(value) && std::fabs(value) < 1e15) return static_cast<int64_t>(value);
  return value;
}

}  // namespace

double AdapterConfig::exact_scale(size_t site) const {
  const int64_t r = site_ranks[site];
  if (r == 0) return 0;
  const auto divisor = static_cast<double>(r);
  return site_alphas[site] / (use_rslora ? std::sqrt(divisor) : divisor);
}

std::vector<std::string> AdapterConfig::target_modules(const AdapterLayout& layout) const {
  std::vector<std::string> modules;
  std::vector<std::string> names;
  for (size_t i = 0; i < layout.sites.size(); ++i) {
    if (site_ranks[i] == 0) continue;
    names.push_back(layout.sites[i].name);
    const std::string& module = layout.sites[i].module;
    if (std::find(modules.begin(), modules.end(), module) == modules.end()) modules.push_back(module);
  }
  size_t matched = 0;
  for (const AdapterSiteLayout& site : layout.sites) {
    matched += std::any_of(modules.begin(), modules.end(),
                           [&](const std::string& module) { return matches_target(site.name, module); });
  }
  return matched == names.size() ? modules : names;
}

Result<AdapterConfig> make_adapter_config(const AdapterLayout& layout, int64_t rank, double alpha,
                                          const std::vector<std::string>& target_modules) {
  if (rank < 1)
    return error(PL_INVALID_ARGUMENT, "rank: expected at least 1, found %lld", static_cast<long long>(rank));
  if (rank > layout.max_rank) {
    return error(PL_RANK_TOO_LARGE, "rank: expected at most %lld (the bundle's maximum), found %lld",
                 static_cast<long long>(layout.max_rank), static_cast<long long>(rank));
  }
  if (!(alpha > 0 && alpha <= FLT_MAX)) {
    return error(PL_INVALID_ARGUMENT, "alpha: expected a finite 32-bit number above 0, found %g", alpha);
  }
  ProblemList unknown;
  for (const std::string& target : target_modules) {
    if (!any_site_matches(layout, target)) unknown.add(target);
  }
  PL_RETURN_IF_ERROR(unknown.to_status(
      PL_UNKNOWN_TARGET_MODULE,
      "unknown target modules; valid ones are " + join_names(layout.target_modules) + ", attention, all-linear:"));

  AdapterConfig config;
  config.rank = rank;
  config.alpha = alpha;
  for (const AdapterSiteLayout& site : layout.sites) {
    const bool used = target_modules.empty() ||
                      std::any_of(target_modules.begin(), target_modules.end(), [&](const std::string& target) {
                        return matches_target_or_preset(site.name, target);
                      });
    config.site_ranks.push_back(used ? rank : 0);
    config.site_alphas.push_back(alpha);
  }
  return config;
}

std::string adapter_config_text(const AdapterLayout& layout, const AdapterConfig& config) {
  nlohmann::ordered_json ranks = nlohmann::ordered_json::object();
  nlohmann::ordered_json alphas = nlohmann::ordered_json::object();
  for (size_t i = 0; i < layout.sites.size(); ++i) {
    if (config.site_ranks[i] == 0) continue;
    if (config.site_ranks[i] != config.rank) ranks[layout.sites[i].name] = config.site_ranks[i];
    if (config.site_alphas[i] != config.alpha) alphas[layout.sites[i].name] = number(config.site_alphas[i]);
  }
  nlohmann::ordered_json json;
  json["peft_type"] = "LORA";
  json["task_type"] = "CAUSAL_LM";
  json["base_model_name_or_path"] = layout.base_model_name;
  json["inference_mode"] = true;
  json["r"] = config.rank;
  json["lora_alpha"] = number(config.alpha);
  json["lora_dropout"] = number(config.dropout);
  json["target_modules"] = config.target_modules(layout);
  json["rank_pattern"] = std::move(ranks);
  json["alpha_pattern"] = std::move(alphas);
  json["use_rslora"] = config.use_rslora;
  json["use_dora"] = false;
  json["bias"] = "none";
  json["fan_in_fan_out"] = false;
  json["init_lora_weights"] = true;
  json["modules_to_save"] = nullptr;
  return json.dump(2) + "\n";
}

}  // namespace pocketlora
