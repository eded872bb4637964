#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace pocketlora {

/// One linear layer of a bundle that can carry an adapter.
struct AdapterSiteLayout {
  std::string name;  ///< "model.layers.3.self_attn.q_proj"
  int64_t layer = 0;
  std::string module;  ///< "q_proj"
  int64_t in_features = 0;
  int64_t out_features = 0;
};

/// What adapters of one bundle look like: filled from its manifest, shared by all adapters over it.
struct AdapterLayout {
  std::vector<AdapterSiteLayout> sites;     ///< in the manifest's order
  std::vector<std::string> target_modules;  ///< the modules a bundle can adapt
  int64_t max_rank = 0;
  std::string base_sha256;      ///< SHA-256 of base.ptd, 64 hex digits
  std::string base_model_name;  ///< model.name, written as base_model_name_or_path
};

/// PEFT's name of a site's tensor: "base_model.model.<site>.lora_A.weight". @param matrix 'A' or 'B'.
std::string peft_tensor_name(const std::string& site, char matrix);

/// PEFT's rule: a target is a site's whole name or its end after a dot ("q_proj", "self_attn.q_proj").
bool matches_target(const std::string& site, const std::string& target);

/// The same, or a preset: "attention" (the layers of each self-attention) or "all-linear".
bool matches_target_or_preset(const std::string& site, const std::string& target);

/// "a, b, c".
std::string join_names(const std::vector<std::string>& names);

}  // namespace pocketlora
