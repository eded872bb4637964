// Adapter::load and Adapter::save.

#include <algorithm>
#include <cmath>
#include <limits>

#include "adapters/adapter.h"
#include "adapters/adapter_test_support.h"
#include "common/test_support.h"
#include "store/safetensors.h"

namespace pocketlora {
namespace {

class AdapterFolder : public ::testing::Test {
 protected:
  void SetUp() override {
    Adapter::Pointer fresh = Adapter::create(layout_, 2, 4, {}, 5).value();
    AdapterTensors tensors = fresh->clone_tensors().value();
    // B is zero in a new adapter: give every element a value of its own.
    float value = 0;
    for (const AdapterSite& site : tensors.sites()) std::generate_n(site.b, 2 * 4, [&value] { return value += 0.25F; });
    adapter_ = Adapter::from_tensors(layout_, fresh->config(), std::move(tensors));
    ASSERT_TRUE(adapter_->save(folder()).ok());
  }

  std::string folder() const { return dir_ / "adapter"; }
  std::string tensor_file() const { return folder() + "/adapter_model.safetensors"; }

  // Writes the weights anew after `change` has been at them.
  template <typename Change>
  void rewrite(Change change, const std::string& base_hash = std::string(64, 'a')) {
    std::vector<Float32Tensor> tensors;
    for (size_t i = 0; i < layout_->sites.size(); ++i) {
      const AdapterSiteLayout& site = layout_->sites[i];
      tensors.push_back({peft_tensor_name(site.name, 'A'), {2, site.in_features}, adapter_->site(i).a});
      tensors.push_back({peft_tensor_name(site.name, 'B'), {site.out_features, 2}, adapter_->site(i).b});
    }
    change(&tensors);
    std::map<std::string, std::string> metadata = {{"format", "pt"}};
    if (!base_hash.empty()) metadata["pocketlora.base_sha256"] = base_hash;
    ASSERT_TRUE(write_safetensors(tensor_file(), tensors, metadata).ok());
  }
  Status load_status() const { return Adapter::load(layout_, folder()).status(); }

  TempDir dir_;
  std::shared_ptr<const AdapterLayout> layout_ = small_layout();
  Adapter::Pointer adapter_;
};

TEST_F(AdapterFolder, RefusesAHeaderFarLongerThanItsTensorsNeed) {
  // The layout has 4 sites: 8 tensors of 4 kB beside the 64 kB of metadata.
  const std::map<std::string, std::string> metadata = {{"padding", std::string(97 << 10, 'x')}};
  ASSERT_TRUE(write_safetensors(tensor_file(), std::vector<Float32Tensor>(), metadata).ok());
  EXPECT_TRUE(fails_with(load_status(), PL_ADAPTER_CORRUPT, {tensor_file(), "a header of at most 98304 bytes"}));
}

TEST_F(AdapterFolder, ReadsWhatItWrites) {
  const Result<Adapter::Pointer> read = Adapter::load(layout_, folder());
  ASSERT_TRUE(read.ok()) << read.status().message();
  for (size_t i = 0; i < layout_->sites.size(); ++i) {
    const AdapterSiteView expected = adapter_->site(i);
    const AdapterSiteView found = read.value()->site(i);
    ASSERT_EQ(found.rank, 2);
    EXPECT_TRUE(std::equal(expected.a, expected.a + 2 * layout_->sites[i].in_features, found.a));
    EXPECT_TRUE(std::equal(expected.b, expected.b + 2 * layout_->sites[i].out_features, found.b));
    EXPECT_EQ(found.scale[1], 2.0F);
  }
}

TEST_F(AdapterFolder, WritesThreeFilesAndACard) {
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder()), std::filesystem::directory_iterator()), 3);
  const std::string card = read_text_file(folder() + "/README.md");
  EXPECT_NE(card.find("base_model: \"tiny \\\"model\\\"\""), std::string::npos) << card;
  EXPECT_NE(card.find("library_name: peft"), std::string::npos);
}

TEST_F(AdapterFolder, SavesAgainOverItself) {
  ASSERT_TRUE(adapter_->save(folder()).ok());
  EXPECT_TRUE(load_status().ok());
  EXPECT_EQ(dir_.num_entries(), 1U);
}

TEST_F(AdapterFolder, RefusesAnotherBase) {
  rewrite([](auto*) {}, std::string(64, 'b'));
  EXPECT_TRUE(fails_with(load_status(), PL_ADAPTER_OTHER_BASE, {std::string(64, 'a'), std::string(64, 'b')}));
}

TEST_F(AdapterFolder, AcceptsAnAdapterThatNamesNoBase) {
  rewrite([](auto*) {}, "");
  EXPECT_TRUE(load_status().ok()) << load_status().message();
}

TEST_F(AdapterFolder, ListsMissingExtraAndMisshapedTensors) {
  rewrite([](std::vector<Float32Tensor>* tensors) {
    (*tensors)[0].name = "base_model.model.model.layers.9.self_attn.q_proj.lora_A.weight";
    (*tensors)[3].shape = {3, 2};
    (*tensors)[4].shape = {3, 4};
  });
  EXPECT_TRUE(fails_with(
      load_status(), PL_ADAPTER_MISMATCH,
      {"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight: missing, expected shape [2, 6]",
       "base_model.model.model.layers.9.self_attn.q_proj.lora_A.weight: not expected, found shape [2, 6]",
       "base_model.model.model.layers.0.mlp.down_proj.lora_B.weight: expected shape [6, 2], found [3, 2]",
       "base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight: expected shape [2, 6], found [3, 4]"}));
}

TEST_F(AdapterFolder, RefusesValuesThatAreNotFinite) {
  std::vector<float> a(12, 1.0F);
  a[5] = std::numeric_limits<float>::quiet_NaN();
  std::vector<float> b(8, 1.0F);
  b[0] = -std::numeric_limits<float>::infinity();
  rewrite([&](std::vector<Float32Tensor>* tensors) {
    (*tensors)[0].data = a.data();
    (*tensors)[5].data = b.data();
  });
  EXPECT_TRUE(fails_with(
      load_status(), PL_ADAPTER_CORRUPT,
      {"layers.0.self_attn.q_proj.lora_A.weight: element 5", "layers.1.self_attn.q_proj.lora_B.weight: element 0"}));
}

TEST_F(AdapterFolder, NamesMissingFiles) {
  EXPECT_TRUE(
      fails_with(Adapter::load(layout_, dir_ / "absent").status(), PL_ADAPTER_MISSING_FILE, {"absent/adapter_model"}));
  std::filesystem::remove(folder() + "/adapter_config.json");
  EXPECT_TRUE(fails_with(load_status(), PL_ADAPTER_MISSING_FILE, {"adapter_config.json"}));
}

TEST_F(AdapterFolder, RefusesATruncatedFile) {
  const std::string bytes = read_text_file(tensor_file());
  for (const size_t length : {size_t{0}, size_t{5}, size_t{100}, bytes.size() - 1}) {
    write_text_file(tensor_file(), bytes.substr(0, length));
    EXPECT_TRUE(fails_with(load_status(), PL_ADAPTER_CORRUPT, {"adapter_model.safetensors"})) << length;
  }
}

TEST_F(AdapterFolder, RefusesIntegers) {
  std::string bytes = read_text_file(tensor_file());
  const size_t at = bytes.find("\"F32\"");
  ASSERT_NE(at, std::string::npos);
  bytes.replace(at, 5, "\"I32\"");
  write_text_file(tensor_file(), bytes);
  EXPECT_TRUE(fails_with(load_status(), PL_ADAPTER_MISMATCH, {"expected dtype F32, F16 or BF16, found I32"}));
}

}  // namespace
}  // namespace pocketlora
