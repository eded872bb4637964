#include "adapters/adapter_checksums.h"

#include "adapters/adapter.h"
#include "adapters/adapter_test_support.h"
#include "common/test_support.h"

namespace pocketlora {
namespace {

class AdapterChecksums : public ::testing::Test {
 protected:
  void SetUp() override {
    adapter_ = Adapter::create(layout_, 2, 4, {}, 5).value();
    AtomicDirectory folder = AtomicDirectory::create(dir_ / "a").value();
    ASSERT_TRUE(adapter_->write(&folder).ok());
    ASSERT_TRUE(add_adapter_checksums(&folder).ok());
    ASSERT_TRUE(folder.commit().ok());
  }
  Status load_status() const { return Adapter::load(layout_, dir_ / "a").status(); }
  std::string file(const std::string& name) const { return dir_ / ("a/" + name); }
  void flip(const std::string& name, size_t at) const {
    std::string text = read_text_file(file(name));
    text[at] = static_cast<char>(text[at] ^ 1);
    write_text_file(file(name), text);
  }

  TempDir dir_;
  std::shared_ptr<const AdapterLayout> layout_ = small_layout();
  std::shared_ptr<const Adapter> adapter_;
};

TEST_F(AdapterChecksums, HoldTheFilesThatAreLoaded) {
  ASSERT_TRUE(load_status().ok()) << load_status().message();
  flip("README.md", 0);  // a card may be edited
  EXPECT_TRUE(load_status().ok()) << load_status().message();
  const size_t last = read_text_file(file("adapter_model.safetensors")).size() - 1;
  flip("adapter_model.safetensors", last);
  flip("adapter_config.json", 3);
  EXPECT_TRUE(fails_with(
      load_status(), PL_ADAPTER_CORRUPT,
      {"a/adapter_config.json: expected SHA-256 ", "a/adapter_model.safetensors: expected SHA-256 ", ", found "}));
  write_text_file(file("adapter_config.json"), "{}");
  EXPECT_TRUE(fails_with(load_status(), PL_ADAPTER_CORRUPT, {" bytes, found 2"}));
}

TEST_F(AdapterChecksums, AFolderWithoutThemLoadsAsItIs) {
  const size_t last = read_text_file(file("adapter_model.safetensors")).size() - 1;
  flip("adapter_model.safetensors", last - 3);
  EXPECT_FALSE(load_status().ok());
  std::filesystem::remove(file(kAdapterChecksumsFile));
  EXPECT_TRUE(load_status().ok()) << load_status().message();
}

TEST_F(AdapterChecksums, WhatIsMissingIsToldAsMissing) {
  std::filesystem::remove(file("adapter_model.safetensors"));
  EXPECT_TRUE(fails_with(load_status(), PL_ADAPTER_MISSING_FILE, {"adapter_model.safetensors"}));
}

TEST_F(AdapterChecksums, AListThatIsNoneIsRefused) {
  const std::string good = read_text_file(file(kAdapterChecksumsFile));
  for (const char* text :
       {"", "{", "[]", R"({"format": "pocketlora.checksums", "version": 1, "files": [{"path": 1}]})"}) {
    write_text_file(file(kAdapterChecksumsFile), text);
    EXPECT_TRUE(fails_with(load_status(), PL_ADAPTER_CORRUPT, {"checksums.json"})) << text;
  }
  write_text_file(file(kAdapterChecksumsFile), R"({"format": "pocketlora.checksums", "version": 1, "files": []})");
  EXPECT_TRUE(fails_with(load_status(), PL_ADAPTER_CORRUPT, {"does not list adapter_config.json"}));
  std::string later = good;
  later.replace(later.find("\"version\": 1"), 12, "\"version\": 9");
  write_text_file(file(kAdapterChecksumsFile), later);
  EXPECT_TRUE(fails_with(load_status(), PL_ADAPTER_UNSUPPORTED, {"version 1", "version 9"}));
}

// Else the list of the adapter that was there would condemn the new one.
TEST_F(AdapterChecksums, GoWhenAnotherAdapterIsSavedOverThem) {
  write_text_file(file("metadata.json"), "{}");
  write_text_file(file("notes.txt"), "mine");
  const auto other = Adapter::create(layout_, 2, 4, {}, 6).value();
  ASSERT_TRUE(other->save(dir_ / "a").ok());
  EXPECT_TRUE(load_status().ok()) << load_status().message();
  EXPECT_FALSE(std::filesystem::exists(file(kAdapterChecksumsFile)));
  EXPECT_FALSE(std::filesystem::exists(file("metadata.json")));
  EXPECT_TRUE(std::filesystem::exists(file("notes.txt")));
}

}  // namespace
}  // namespace pocketlora
