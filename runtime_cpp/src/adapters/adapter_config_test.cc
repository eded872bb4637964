#include "adapters/adapter_config.h"

#include <cmath>

#include "adapters/adapter_test_support.h"
#include "common/json_access.h"
#include "common/test_support.h"

namespace pocketlora {
namespace {

class AdapterConfigFile : public ::testing::Test {
 protected:
  // A valid config with some of its members replaced.
  Result<AdapterConfig> read(const std::string& changes) {
    Json json =
        Json::parse(R"({"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"], "bias": "none",
                                "task_type": "CAUSAL_LM", "modules_to_save": null, "use_dora": false, "layer_replication": null,
                                "loftq_config": {}, "megatron_config": null, "some_new_field": 3})");
    json.update(Json::parse(changes));
    return read_text(json.dump());
  }
  Result<AdapterConfig> read_text(const std::string& text) {
    write_text_file(dir_ / "adapter_config.json", text);
    return read_adapter_config(*layout_, std::vector<bool>(layout_->sites.size(), true), dir_ / "adapter_config.json");
  }
  TempDir dir_;
  std::shared_ptr<const AdapterLayout> layout_ = small_layout();
};

using Ranks = std::vector<int64_t>;

TEST_F(AdapterConfigFile, ListsValidModules) {
  EXPECT_TRUE(fails_with(read(R"({"target_modules": ["q_proj", "c_attn", "roj"]})").status(), PL_UNKNOWN_TARGET_MODULE,
                         {"q_proj, down_proj", "- c_attn", "- roj"}));
}

TEST_F(AdapterConfigFile, RefusesRanksAboveTheBundles) {
  EXPECT_TRUE(fails_with(read(R"({"r": 9})").status(), PL_RANK_TOO_LARGE, {"at most 8, found 9"}));
  EXPECT_TRUE(
      fails_with(read(R"({"rank_pattern": {"q_proj": 64}})").status(), PL_RANK_TOO_LARGE, {"layers.1", "found 64"}));
}

TEST_F(AdapterConfigFile, RefusesNonsense) {
  EXPECT_TRUE(fails_with(read_text("{").status(), PL_ADAPTER_CORRUPT, {"not valid JSON"}));
  EXPECT_TRUE(fails_with(read_text("[]").status(), PL_ADAPTER_CORRUPT));
  EXPECT_TRUE(fails_with(read_text("").status(), PL_ADAPTER_CORRUPT));
  EXPECT_TRUE(
      fails_with(read_text("{}").status(), PL_ADAPTER_CORRUPT, {"peft_type", "r:", "lora_alpha", "target_modules"}));
  EXPECT_TRUE(fails_with(read(R"({"r": 0})").status(), PL_ADAPTER_CORRUPT, {"found 0"}));
  EXPECT_TRUE(fails_with(read(R"({"r": "4"})").status(), PL_ADAPTER_CORRUPT, {"found a string"}));
  EXPECT_TRUE(fails_with(read(R"({"lora_dropout": 1})").status(), PL_ADAPTER_CORRUPT, {"lora_dropout"}));
  EXPECT_TRUE(fails_with(read(R"({"rank_pattern": {"q_proj": -1}})").status(), PL_ADAPTER_CORRUPT, {"found -1"}));
  // Exact in 64 bits; beyond what a double or a rank can be.
  EXPECT_TRUE(fails_with(read(R"({"rank_pattern": {"q_proj": 9223372036854775807}})").status(), PL_ADAPTER_CORRUPT,
                         {"rank_pattern.q_proj", "found 9223372036854775807"}));
  EXPECT_TRUE(fails_with(read(R"({"rank_pattern": {"q_proj": 0}})").status(), PL_ADAPTER_CORRUPT,
                         {"rank_pattern.q_proj", "found 0"}));
  EXPECT_TRUE(fails_with(read(R"({"rank_pattern": {"down_proj": 0}})").status(), PL_ADAPTER_CORRUPT, {"found 0"}));
  EXPECT_TRUE(fails_with(read(R"({"target_modules": []})").status(), PL_ADAPTER_CORRUPT, {"at least one"}));
}

TEST_F(AdapterConfigFile, RefusesScalesThatAreNotFinite) {
  for (const char* alpha : {"1e300", "-1e300", "1e39"}) {
    const std::string changes = std::string("{\"r\": 1, \"lora_alpha\": ") + alpha + "}";
    EXPECT_TRUE(fails_with(read(changes).status(), PL_ADAPTER_CORRUPT, {"layers.0.self_attn.q_proj", "lora_alpha"}));
  }
  EXPECT_TRUE(fails_with(read(R"({"alpha_pattern": {"layers.1.self_attn.q_proj": 1e300}})").status(),
                         PL_ADAPTER_CORRUPT, {"layers.1.self_attn.q_proj", "1e+300"}));
  EXPECT_TRUE(read(R"({"r": 4, "lora_alpha": 1e38})").ok());
}

TEST_F(AdapterConfigFile, ReadsWhatItWrites) {
  AdapterConfig config;
  config.rank = 4;
  config.alpha = 2.5;
  config.use_rslora = true;
  config.dropout = 0.125;
  config.site_ranks = {4, 2, 4, 0};
  config.site_alphas = {2.5, 2.5, 3, 2.5};
  const Result<AdapterConfig> read = read_text(adapter_config_text(*layout_, config));
  ASSERT_TRUE(read.ok()) << read.status().message();
  EXPECT_EQ(read.value().rank, 4);
  EXPECT_EQ(read.value().alpha, 2.5);
  EXPECT_EQ(read.value().dropout, 0.125);
  EXPECT_TRUE(read.value().use_rslora);
  EXPECT_EQ(read.value().site_ranks, config.site_ranks);
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(read.value().site_alphas[i], config.site_alphas[i]);
}

TEST(MakeAdapterConfig, ChecksItsArguments) {
  const auto layout = small_layout();
  EXPECT_TRUE(fails_with(make_adapter_config(*layout, 0, 8, {}).status(), PL_INVALID_ARGUMENT, {"rank"}));
  EXPECT_TRUE(fails_with(make_adapter_config(*layout, 9, 8, {}).status(), PL_RANK_TOO_LARGE, {"8", "9"}));
  EXPECT_TRUE(fails_with(make_adapter_config(*layout, 4, NAN, {}).status(), PL_INVALID_ARGUMENT, {"alpha"}));
  EXPECT_TRUE(fails_with(make_adapter_config(*layout, 4, 1e39, {}).status(), PL_INVALID_ARGUMENT, {"alpha"}));
  EXPECT_TRUE(fails_with(make_adapter_config(*layout, 4, 8, {"q_proj", "x", "y"}).status(), PL_UNKNOWN_TARGET_MODULE,
                         {"q_proj, down_proj", "- x", "- y"}));
  EXPECT_EQ(make_adapter_config(*layout, 4, 8, {"down_proj"}).value().site_ranks, (Ranks{0, 4, 0, 4}));
  EXPECT_EQ(make_adapter_config(*layout, 4, 8, {"attention"}).value().site_ranks, (Ranks{4, 0, 4, 0}));
  EXPECT_EQ(make_adapter_config(*layout, 4, 8, {"attention", "down_proj"}).value().site_ranks, (Ranks{4, 4, 4, 4}));
  EXPECT_EQ(make_adapter_config(*layout, 4, 8, {"all-linear"}).value().site_ranks, (Ranks{4, 4, 4, 4}));
  EXPECT_TRUE(fails_with(make_adapter_config(*layout, 4, 8, {"mlp"}).status(), PL_UNKNOWN_TARGET_MODULE,
                         {"q_proj, down_proj, attention, all-linear", "- mlp"}));
  EXPECT_EQ(make_adapter_config(*layout, 4, 8, {}).value().target_modules(*layout),
            (std::vector<std::string>{"q_proj", "down_proj"}));
}

}  // namespace
}  // namespace pocketlora
