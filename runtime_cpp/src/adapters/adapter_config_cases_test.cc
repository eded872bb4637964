// The cases that the runtime and pocketlora_export share: tests/adapters/config_cases.json.

#include <algorithm>
#include <nlohmann/json.hpp>

#include "adapters/adapter_config.h"
#include "adapters/name_pattern.h"
#include "common/test_support.h"

namespace pocketlora {
namespace {

// Patterns depend on the order of a document's members.
using OrderedJson = nlohmann::ordered_json;

const OrderedJson& document() {
  static const OrderedJson parsed = OrderedJson::parse(read_text_file(POCKETLORA_CONFIG_CASES));
  return parsed;
}

AdapterLayout layout_of_cases() {
  AdapterLayout layout;
  for (const OrderedJson& site : document()["sites"]) {
    layout.sites.push_back({site["name"], site["layer"], site["module"], site["in_features"], site["out_features"]});
    const std::string module = site["module"];
    if (std::count(layout.target_modules.begin(), layout.target_modules.end(), module) == 0) {
      layout.target_modules.push_back(module);
    }
  }
  layout.max_rank = document()["max_rank"];
  return layout;
}

std::vector<bool> has_tensors(const AdapterLayout& layout, const OrderedJson& config_case) {
  if (!config_case.contains("tensors_of")) return std::vector<bool>(layout.sites.size(), true);
  const OrderedJson& names = config_case["tensors_of"];
  std::vector<bool> present;
  for (const AdapterSiteLayout& site : layout.sites) {
    present.push_back(std::find(names.begin(), names.end(), site.name) != names.end());
  }
  return present;
}

void expect_resolved(const OrderedJson& config_case, const Result<AdapterConfig>& config) {
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_EQ(config.value().site_ranks, config_case["ranks"].get<std::vector<int64_t>>());
  for (size_t i = 0; i < config_case["scales"].size(); ++i) {
    EXPECT_EQ(config.value().site_scale(i), config_case["scales"][i].get<float>()) << i;
  }
}

void expect_refused(const OrderedJson& config_case, const Result<AdapterConfig>& config) {
  ASSERT_FALSE(config.ok());
  const std::string& message = config.status().message();
  EXPECT_EQ(config_case["status"].get<std::string>(), status_name(config.status().code())) << message;
  for (const OrderedJson& words : config_case["says"]) {
    EXPECT_NE(message.find(words.get<std::string>()), std::string::npos) << words << " is missing in: " << message;
  }
}

TEST(AdapterConfigCases, AreResolvedOrRefusedAsTheDocumentSays) {
  const AdapterLayout layout = layout_of_cases();
  TempDir dir;
  ASSERT_GT(document()["cases"].size(), 0U);
  for (const OrderedJson& config_case : document()["cases"]) {
    SCOPED_TRACE(config_case["what"].get<std::string>());
    OrderedJson config = document()["config"];
    for (const auto& change : config_case["changes"].items()) config[change.key()] = change.value();
    write_text_file(dir / "adapter_config.json", config.dump());
    const Result<AdapterConfig> read =
        read_adapter_config(layout, has_tensors(layout, config_case), dir / "adapter_config.json");
    if (config_case.contains("status")) {
      expect_refused(config_case, read);
    } else {
      expect_resolved(config_case, read);
    }
  }
}

TEST(NamePattern, MatchesAWholeNameOrItsEndAfterADot) {
  const auto matches = [](const char* key, const char* site) { return NamePattern::parse(key)->matches(site); };
  EXPECT_TRUE(matches("q_proj", "q_proj"));
  EXPECT_TRUE(matches("q_proj", "a.q_proj"));
  EXPECT_FALSE(matches("q_proj", "aq_proj"));
  EXPECT_FALSE(matches("a.q_proj", "q_proj"));
  EXPECT_TRUE(matches("a.b", "axb"));
  EXPECT_FALSE(matches("a\\.b", "axb"));
  EXPECT_TRUE(matches("^a.b$", "a.b"));
  EXPECT_FALSE(matches("^b", "a.b"));
}

TEST(NamePattern, RefusesWhatNeedsARegexEngine) {
  for (const char* key :
       {"", "^", "$", "a*", "a+", "a?", "(a)", "[ab]", "a|b", "a{2}", "\\d", "a\\", "a$b", "a^b", "\xc3\xa4"}) {
    EXPECT_FALSE(NamePattern::parse(key).has_value()) << key;
  }
}

}  // namespace
}  // namespace pocketlora
