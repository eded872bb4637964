// Adapter::load of folders that were damaged at random.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "adapters/adapter.h"
#include "adapters/adapter_checksums.h"
#include "adapters/adapter_test_support.h"
#include "common/corruption_test_support.h"
#include "common/test_support.h"
#include "store/atomic_file.h"

namespace pocketlora {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr char kConfig[] = "adapter_config.json";
constexpr char kTensors[] = "adapter_model.safetensors";

using Files = std::map<std::string, std::string>;  // content by name

/// An adapter of which no two weights are equal, with the checksums that training writes beside it.
Files written_adapter(const std::shared_ptr<const AdapterLayout>& layout, int64_t rank, double alpha) {
  const TempDir dir;
  const Adapter::Pointer fresh = Adapter::create(layout, rank, alpha, {}, static_cast<uint64_t>(rank)).value();
  AdapterTensors tensors = fresh->clone_tensors().value();
  float value = 0;
  for (float& parameter : tensors.parameters()) parameter = value += 0.0625F;
  AtomicDirectory folder = AtomicDirectory::create(dir / "adapter").value();
  EXPECT_TRUE(Adapter::from_tensors(layout, fresh->config(), std::move(tensors))->write(&folder).ok());
  EXPECT_TRUE(add_adapter_checksums(&folder).ok());
  EXPECT_TRUE(folder.commit().ok());
  Files files;
  for (const auto& entry : fs::directory_iterator(dir / "adapter")) {
    files[entry.path().filename().string()] = read_text_file(entry.path().string());
  }
  return files;
}

void put(const std::string& folder, const Files& files) {
  fs::remove_all(folder);
  fs::create_directories(folder);
  for (const auto& [name, bytes] : files) write_text_file(folder + "/" + name, bytes);
}

/// The bytes of one tensor by a reading of the format of its own.
std::string tensor_bytes(const std::string& file, const std::string& name) {
  uint64_t length = 0;
  std::memcpy(&length, file.data(), sizeof(length));
  const json header = json::parse(file.substr(sizeof(length), length), nullptr, false);
  const json& offsets = header[name]["data_offsets"];
  const auto begin = offsets[0].get<size_t>();
  return file.substr(sizeof(length) + length + begin, offsets[1].get<size_t>() - begin);
}

bool same_bytes(const float* values, const std::string& bytes) {
  return std::memcmp(values, bytes.data(), bytes.size()) == 0;
}

/// What was loaded, compared with what the files say: plain PEFT folders have no hash, so a changed number or weight
/// is another adapter, and must be loaded as just that one.
void expect_as_written(const Adapter& loaded, const std::string& folder) {
  const std::string tensors = read_text_file(folder + "/" + kTensors);
  const json config = json::parse(read_text_file(folder + "/" + kConfig), nullptr, false);
  const auto rank = config["r"].get<double>();
  const auto alpha = config["lora_alpha"].get<double>();
  const auto scale = static_cast<float>(alpha / (config.value("use_rslora", false) ? std::sqrt(rank) : rank));
  for (size_t i = 0; i < loaded.layout().sites.size(); ++i) {
    const AdapterSiteView site = loaded.site(i);
    const std::string& name = loaded.layout().sites[i].name;
    ASSERT_EQ(static_cast<double>(site.rank), rank);
    EXPECT_TRUE(same_bytes(site.a, tensor_bytes(tensors, peft_tensor_name(name, 'A')))) << name;
    EXPECT_TRUE(same_bytes(site.b, tensor_bytes(tensors, peft_tensor_name(name, 'B')))) << name;
    for (int64_t r = 0; r < site.rank; ++r) EXPECT_EQ(site.scale[r], scale) << name;
  }
}

/// The group of adapters, or the two codes by which a config asks for what the bundle does not have.
bool is_adapter_problem(pl_status code) {
  return (code >= PL_ADAPTER_MISSING_FILE && code <= PL_ADAPTER_UNSUPPORTED) || code == PL_RANK_TOO_LARGE ||
         code == PL_UNKNOWN_TARGET_MODULE;
}

/// Random damage to one of `names`, 300 times, each in a fresh copy of the files.
class AdapterDamage : public ::testing::Test {
 protected:
  template <typename Loaded>
  int damage_many(const Files& files, const Files& others, const std::vector<std::string>& names, Loaded loaded) {
    std::vector<Target> targets;
    for (const std::string& name : names) targets.push_back({name});
    int refused = 0;
    for (uint64_t seed = 0; seed < 300; ++seed) {
      put(folder_, files);
      put(dir_ / "other", others);
      const Damage damage = Corruption(seed).apply(folder_, targets, dir_ / "other");
      SCOPED_TRACE("seed " + std::to_string(seed) + ": " + damage.file + ", " + damage.what);
      const Result<Adapter::Pointer> adapter = Adapter::load(layout_, folder_);
      if (adapter.ok()) {
        loaded(*adapter.value(), damage);
        continue;
      }
      ++refused;
      const std::string& message = adapter.status().message();
      EXPECT_TRUE(is_adapter_problem(adapter.status().code())) << status_name(adapter.status().code());
      EXPECT_NE(message.find(folder_), std::string::npos) << message;
      // A damaged list of hashes may put the blame on another file of the folder.
      if (damage.file != kAdapterChecksumsFile) {
        EXPECT_NE(message.find(damage.file), std::string::npos) << message;
      }
    }
    return refused;
  }

  TempDir dir_;
  std::string folder_ = dir_ / "adapter";
  std::shared_ptr<const AdapterLayout> layout_ = small_layout();
  Files files_ = written_adapter(layout_, 2, 4), others_ = written_adapter(layout_, 3, 9);
};

TEST_F(AdapterDamage, WithoutChecksumsItIsRefusedOrLoadedAsWritten) {
  files_.erase(kAdapterChecksumsFile);
  put(folder_, files_);
  ASSERT_TRUE(Adapter::load(layout_, folder_).ok());
  const auto as_written = [this](const Adapter& loaded, const Damage&) { expect_as_written(loaded, folder_); };
  const int refused = damage_many(files_, others_, {kConfig, kTensors}, as_written);
  std::printf("%d of 300 refused, the others loaded as their files say\n", refused);
  EXPECT_GT(refused, 150);
}

TEST_F(AdapterDamage, WithChecksumsItIsRefused) {
  put(folder_, files_);
  ASSERT_TRUE(Adapter::load(layout_, folder_).ok());
  int harmless = 0;
  const auto unchanged = [&](const Adapter& loaded, const Damage& damage) {
    // The list may say the same in other words, or something else of the card, or be missing: the adapter is the same.
    ++harmless;
    EXPECT_EQ(damage.file, kAdapterChecksumsFile);
    for (const char* name : {kConfig, kTensors}) EXPECT_EQ(read_text_file(folder_ + "/" + name), files_[name]);
    expect_as_written(loaded, folder_);
  };
  const int refused = damage_many(files_, others_, {kConfig, kTensors, kAdapterChecksumsFile}, unchanged);
  std::printf("%d of 300 refused, %d with the same adapter\n", refused, harmless);
  EXPECT_EQ(refused + harmless, 300);
  EXPECT_LT(harmless, 60);
}

}  // namespace
}  // namespace pocketlora
