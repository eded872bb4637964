#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "adapters/adapter_layout.h"
#include "common/result.h"

namespace pocketlora {

/// What adapter_config.json says, resolved per site.
struct AdapterConfig {
  int64_t rank = 0;  ///< r
  double alpha = 0;  ///< lora_alpha
  bool use_rslora = false;
  double dropout = 0;               ///< lora_dropout
  std::vector<int64_t> site_ranks;  ///< one per site of the layout, 0 = not a target
  std::vector<double> site_alphas;  ///< one per site

  /// alpha / r of a site, or alpha / sqrt(r) with rsLoRA; 0 for an unused site.
  double exact_scale(size_t site) const;
  /// exact_scale() as the kernels take it; it must fit.
  float site_scale(size_t site) const { return static_cast<float>(exact_scale(site)); }

  /// The shortest target_modules that give exactly the used sites: module names, or whole site names when a module is
  /// adapted in some layers only.
  std::vector<std::string> target_modules(const AdapterLayout& layout) const;
};

/// The same rank and alpha at every site of the target modules. @param target_modules names or presets
/// (matches_target_or_preset); empty = all of the layout's.
/// @return PL_INVALID_ARGUMENT, PL_RANK_TOO_LARGE or PL_UNKNOWN_TARGET_MODULE (which lists the valid ones).
Result<AdapterConfig> make_adapter_config(const AdapterLayout& layout, int64_t rank, double alpha,
                                          const std::vector<std::string>& target_modules);

/// Reads PEFT's adapter_config.json and resolves it over the layout: target_modules (names or "all-linear"),
/// exclude_modules, layers_to_transform, rank_pattern, alpha_pattern, use_rslora. A regular expression in
/// target_modules or exclude_modules is not evaluated: the tensors decide which sites it stands for. What would change
/// the computation and is not implemented (DoRA, trained biases, modules_to_save, ...) is PL_ADAPTER_UNSUPPORTED, all
/// of it in one message. @param has_tensors one per site: whether the adapter's file has a tensor of it.
Result<AdapterConfig> read_adapter_config(const AdapterLayout& layout, const std::vector<bool>& has_tensors,
                                          const std::string& path);

/// The text of adapter_config.json as PEFT's LoraConfig.from_pretrained reads it.
std::string adapter_config_text(const AdapterLayout& layout, const AdapterConfig& config);

}  // namespace pocketlora
