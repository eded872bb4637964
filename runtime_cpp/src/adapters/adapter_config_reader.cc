#include <algorithm>
#include <cctype>
#include <cfloat>
#include <cmath>
#include <map>
#include <optional>

#include "adapters/adapter_config.h"
#include "adapters/name_pattern.h"
#include "common/json_access.h"
#include "store/mapped_file.h"

namespace pocketlora {
namespace {

// PEFT's fields that change the computation in a way that is not implemented, when they are neither null, false nor
// empty.
struct UnsupportedField {
  const char* key;
  const char* what;
};
constexpr UnsupportedField kUnsupportedFields[] = {
    {"use_dora", "weight-decomposed adapters (DoRA)"},
    {"modules_to_save", "fully trained modules"},
    {"fan_in_fan_out", "transposed base weights"},
    {"lora_bias", "a bias on lora_B"},
    {"layer_replication", "replicated layers"},
    {"trainable_token_indices", "trained embedding rows"},
    {"target_parameters", "adapters on bare parameters"},
    {"alora_invocation_tokens", "activated LoRA"},
    {"use_qalora", "quantization-aware LoRA"},
    {"use_bdlora", "block-diagonal LoRA"},
    {"arrow_config", "Arrow routing"},
    {"velora_config", "VeLoRA"},
    {"kasa_config", "KaSA"},
    {"monteclora_config", "MonteCLoRA"},
    {"layers_pattern", "a pattern of layer names"},
};

bool is_set(const Json& value) {
  if (value.is_null()) return false;
  if (value.is_boolean()) return value.get<bool>();
  if (value.is_string()) return !value.get_ref<const std::string&>().empty();
  if (value.is_structured()) return !value.empty();
  return true;
}

bool is_all_linear(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text == "all-linear";
}

// The names in one member of a document, in the file's order, which Json does not keep.
std::vector<std::string> names_in_order(std::string_view text, const char* key) {
  const auto root = nlohmann::ordered_json::parse(text.begin(), text.end(), nullptr, false);
  std::vector<std::string> names;
  for (const auto& member : root[key].items()) names.push_back(member.key());
  return names;
}

// target_modules or exclude_modules: a list of names, or a regular expression, which is not evaluated.
struct ModuleFilter {
  std::vector<std::string> names;
  bool is_expression = false;

  bool matches(const std::string& site) const {
    return std::any_of(names.begin(), names.end(), [&](const std::string& name) { return matches_target(site, name); });
  }
};

class ConfigReader {
 public:
  ConfigReader(const AdapterLayout& layout, const std::vector<bool>& has_tensors, const Json& json,
               std::string_view text, std::string path)
      : layout_(layout), has_tensors_(has_tensors), text_(text), path_(std::move(path)), root_(json, "", &malformed_) {}

  Result<AdapterConfig> read() {
    read_scalars();
    const ModuleFilter targets = read_modules("target_modules", true);
    const ModuleFilter excluded = read_modules("exclude_modules", false);
    select_sites(targets, excluded, read_layers());
    const auto rank_of = [](const JsonNode& value) { return value.as_int(1, INT32_MAX); };
    const auto alpha_of = [](const JsonNode& value) { return value.as_number(); };
    read_pattern<int64_t>("rank_pattern", rank_of, &config_.site_ranks);
    read_pattern<double>("alpha_pattern", alpha_of, &config_.site_alphas);
    check_ranges();
    PL_RETURN_IF_ERROR(malformed_.to_status(PL_ADAPTER_CORRUPT, path_ + ": not a valid adapter_config.json"));
    PL_RETURN_IF_ERROR(
        unsupported_.to_status(PL_ADAPTER_UNSUPPORTED, path_ + ": the adapter uses what is not supported"));
    PL_RETURN_IF_ERROR(unknown_.to_status(
        PL_UNKNOWN_TARGET_MODULE,
        path_ + ": unknown target modules; this bundle has " + join_names(layout_.target_modules) + ":"));
    PL_RETURN_IF_ERROR(too_large_.to_status(PL_RANK_TOO_LARGE, path_ + ": the rank is above the bundle's maximum"));
    return config_;
  }

 private:
  void read_scalars() {
    const std::string type = root_.require_string("peft_type");
    if (!type.empty() && type != "LORA") unsupported_.add("peft_type " + type + ", expected LORA");
    config_.rank = root_.require_int("r", 1, INT32_MAX);
    config_.alpha = root_.require_number("lora_alpha");
    config_.dropout = root_.optional_number("lora_dropout", 0);
    config_.use_rslora = root_.optional_bool("use_rslora", false);
    const std::string bias = root_.optional_string("bias", "none");
    if (bias != "none") unsupported_.add("bias \"" + bias + "\", expected \"none\"");
    for (const UnsupportedField& field : kUnsupportedFields) {
      if (root_.has(field.key) && is_set(root_.json()[field.key])) unsupported_.addf("%s (%s)", field.key, field.what);
    }
    read_initialisation();
  }

  // These initialisations subtract a part from the base weights, which this base does not have subtracted.
  void read_initialisation() {
    if (!root_.has("init_lora_weights") || !root_.json()["init_lora_weights"].is_string()) return;
    const std::string name = root_.require_string("init_lora_weights");
    for (const char* changes_base : {"pissa", "olora", "corda", "loftq", "lora_ga"}) {
      if (name.rfind(changes_base, 0) == 0) {
        return unsupported_.add("init_lora_weights \"" + name +
                                "\" (it changes the base; convert to plain LoRA first)");
      }
    }
  }

  ModuleFilter read_modules(const char* key, bool required) {
    ModuleFilter filter;
    if (!root_.has(key)) {
      if (required) malformed_.addf("%s: expected a list of module names, found nothing", key);
    } else if (!root_.json()[key].is_string()) {
      filter.names = root_.require_strings(key);
      if (required) check_targets(filter.names);
    } else {
      all_linear_ = all_linear_ || (required && is_all_linear(root_.require_string(key)));
      filter.is_expression = !(required && all_linear_);
    }
    return filter;
  }

  void check_targets(const std::vector<std::string>& names) {
    if (names.empty()) malformed_.add("target_modules: expected at least one module");
    for (const std::string& name : names) {
      const bool known = std::any_of(layout_.sites.begin(), layout_.sites.end(),
                                     [&](const AdapterSiteLayout& site) { return matches_target(site.name, name); });
      if (!known) unknown_.add(name);
    }
  }

  std::vector<int64_t> read_layers() {
    const char* key = "layers_to_transform";
    if (!root_.has(key)) return {};
    if (root_.json()[key].is_array()) return root_.require_ints(key);
    return {root_.require_int(key)};
  }

  // Where a filter is a regular expression, the tensors in the file say which sites it stands for.
  void select_sites(const ModuleFilter& targets, const ModuleFilter& excluded, const std::vector<int64_t>& layers) {
    const bool tensors_decide = targets.is_expression || excluded.is_expression;
    for (size_t i = 0; i < layout_.sites.size(); ++i) {
      const AdapterSiteLayout& site = layout_.sites[i];
      const bool in_layer = layers.empty() || std::find(layers.begin(), layers.end(), site.layer) != layers.end();
      const bool wanted = all_linear_ || targets.is_expression || targets.matches(site.name);
      const bool used = wanted && !excluded.matches(site.name) && in_layer && (!tensors_decide || has_tensors_[i]);
      config_.site_ranks.push_back(used ? config_.rank : 0);
      config_.site_alphas.push_back(config_.alpha);
    }
  }

  // PEFT takes the first key in the file that matches.
  template <typename T, typename ValueOf>
  void read_pattern(const char* key, const ValueOf& value_of, std::vector<T>* site_values) {
    if (!root_.has(key)) return;
    std::map<std::string, T> values;
    for (const auto& member : root_.require_object(key).members()) values[member.first] = value_of(member.second);
    if (values.empty()) return;
    std::vector<std::pair<NamePattern, T>> pattern;
    for (const std::string& name : names_in_order(text_, key)) {
      const std::optional<NamePattern> parsed = NamePattern::parse(name);
      if (parsed.has_value()) {
        pattern.emplace_back(*parsed, values[name]);
      } else {
        unsupported_.addf("%s with a regular expression (\"%s\"); 'pocketlora-export adapter import' resolves it", key,
                          name.c_str());
      }
    }
    for (size_t i = 0; i < layout_.sites.size(); ++i) {
      const auto first = std::find_if(pattern.begin(), pattern.end(),
                                      [&](const auto& entry) { return entry.first.matches(layout_.sites[i].name); });
      if (config_.site_ranks[i] > 0 && first != pattern.end()) (*site_values)[i] = first->second;
    }
  }

  void check_ranges() {
    if (!(config_.dropout >= 0 && config_.dropout < 1))
      malformed_.addf("lora_dropout: expected [0, 1), found %g", config_.dropout);
    for (size_t i = 0; i < layout_.sites.size(); ++i) {
      const auto found = static_cast<long long>(config_.site_ranks[i]);
      const char* name = layout_.sites[i].name.c_str();
      if (!(std::fabs(config_.exact_scale(i)) <= FLT_MAX)) {
        malformed_.addf("%s: lora_alpha %g gives a scale that does not fit in 32 bits", name, config_.site_alphas[i]);
      }
      if (found > layout_.max_rank) {
        too_large_.addf("%s: expected at most %lld, found %lld", name, static_cast<long long>(layout_.max_rank), found);
      }
    }
  }

  const AdapterLayout& layout_;
  const std::vector<bool>& has_tensors_;
  std::string_view text_;
  std::string path_;
  ProblemList malformed_, unsupported_, unknown_, too_large_;
  JsonNode root_;
  AdapterConfig config_;
  bool all_linear_ = false;
};

}  // namespace

Result<AdapterConfig> read_adapter_config(const AdapterLayout& layout, const std::vector<bool>& has_tensors,
                                          const std::string& path) {
  PL_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::open(path, PL_ADAPTER_MISSING_FILE));
  const std::string_view text(reinterpret_cast<const char*>(file.data()), file.size());
  PL_ASSIGN_OR_RETURN(const Json json, parse_json(text, path, PL_ADAPTER_CORRUPT));
  if (!json.is_object()) return error(PL_ADAPTER_CORRUPT, "%s: expected a JSON object", path.c_str());
  return ConfigReader(layout, has_tensors, json, text, path).read();
}

}  // namespace pocketlora
