#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>

#include "bundle/base_map.h"
#include "capi/bundle_test_support.h"
#include "common/corruption_test_support.h"
#include "common/test_support.h"
#include "store/sha256.h"

namespace pocketlora {
namespace {

namespace fs = std::filesystem;

std::string read_file(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void write_file(const fs::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc)
      .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

/// A copy of the bundle that a test may damage.
class DamagedBundleTest : public BundleTest {
 protected:
  void SetUp() override {
    BundleTest::SetUp();
    if (IsSkipped()) return;
    copy_ = fs::path(folder_.path()) / "bundle";
    fs::copy(dir_, copy_, fs::copy_options::recursive);
  }

  pl_status open(bool verify_base = false) const {
    pl_engine_options options = engine_options();
    options.num_threads = 1;
    options.verify_base = verify_base ? 1 : 0;
    Error problem;
    const EngineHandle engine = open_engine(copy_.string(), &options, &problem);
    EXPECT_EQ(engine == nullptr, problem.status != PL_OK);
    message_ = problem.message;
    return problem.status;
  }

  /// Every file that the manifest lists, its size and its hash.
  void each_file(const std::function<void(const std::string& path)>& visit) const {
    const nlohmann::json manifest = nlohmann::json::parse(info_.manifest_json);
    ASSERT_GT(manifest["files"].size(), 3U);
    for (const auto& file : manifest["files"]) visit(file["path"]);
  }

  /// Writes a manifest with a hash that fits it.
  void write_manifest(const nlohmann::json& manifest) const {
    write_file(copy_ / "manifest.json", manifest.dump());
    seal_manifest(copy_);
  }
  static void seal_manifest(const fs::path& bundle) {
    const std::string text = read_file(bundle / "manifest.json");
    const ByteSpan bytes(reinterpret_cast<const uint8_t*>(text.data()), text.size());
    write_file(bundle / "manifest.sha256", sha256_hex(bytes) + "  manifest.json\n");
  }

  TempDir folder_;  ///< of its own: other processes may run the same test
  fs::path copy_;
  mutable std::string message_;
};

TEST_F(DamagedBundleTest, AnUndamagedCopyOpens) {
  EXPECT_EQ(open(), PL_OK) << message_;
  EXPECT_EQ(open(true), PL_OK) << message_;
}

TEST_F(DamagedBundleTest, AMissingFileIsNamed) {
  each_file([this](const std::string& path) {
    const std::string bytes = read_file(copy_ / path);
    fs::remove(copy_ / path);
    EXPECT_EQ(open(), PL_BUNDLE_MISSING_FILE);
    EXPECT_NE(message_.find(path), std::string::npos) << message_;
    write_file(copy_ / path, bytes);
  });
  for (const char* path : {"manifest.json", "manifest.sha256"}) {
    const std::string bytes = read_file(copy_ / path);
    fs::remove(copy_ / path);
    EXPECT_EQ(open(), PL_BUNDLE_MISSING_FILE);
    EXPECT_NE(message_.find(path), std::string::npos) << message_;
    write_file(copy_ / path, bytes);
  }
}

TEST_F(DamagedBundleTest, ATruncatedFileIsNamed) {
  each_file([this](const std::string& path) {
    const std::string bytes = read_file(copy_ / path);
    write_file(copy_ / path, bytes.substr(0, bytes.size() / 2));
    EXPECT_EQ(open(), PL_BUNDLE_CORRUPT);
    EXPECT_NE(message_.find(path), std::string::npos) << message_;
    write_file(copy_ / path, bytes);
  });
}

TEST_F(DamagedBundleTest, AFlippedBitIsFound) {
  each_file([this](const std::string& path) {
    const std::string bytes = read_file(copy_ / path);
    std::string flipped = bytes;
    flipped[bytes.size() / 2] = static_cast<char>(flipped[bytes.size() / 2] ^ 1);
    write_file(copy_ / path, flipped);
    EXPECT_EQ(open(true), PL_BUNDLE_CORRUPT) << path;  // the base is hashed when asked
    EXPECT_NE(message_.find(path), std::string::npos) << message_;
    write_file(copy_ / path, bytes);
  });
}

TEST_F(DamagedBundleTest, AChangedManifestIsFound) {
  std::string text = read_file(copy_ / "manifest.json");
  text[text.size() / 2] = static_cast<char>(text[text.size() / 2] ^ 1);
  write_file(copy_ / "manifest.json", text);
  EXPECT_EQ(open(), PL_BUNDLE_CORRUPT);
  EXPECT_NE(message_.find("SHA-256"), std::string::npos) << message_;
}

TEST_F(DamagedBundleTest, ANewerSchemaIsRefused) {
  nlohmann::json manifest = nlohmann::json::parse(info_.manifest_json);
  manifest["schema_version"] = "3.0";
  write_manifest(manifest);
  EXPECT_EQ(open(), PL_BUNDLE_VERSION);
  EXPECT_NE(message_.find("3.0"), std::string::npos) << message_;
}

TEST_F(DamagedBundleTest, MethodsMustAgreeWithTheManifest) {
  nlohmann::json manifest = nlohmann::json::parse(info_.manifest_json);
  // The manifest agrees with itself, but not with the programs: the same bytes, called something else.
  const int64_t bytes = 4 * manifest["model"]["hidden_size"].get<int64_t>();
  const auto rename = [bytes](nlohmann::json& tensor, const std::string& name) {
    if (tensor["name"] != name) return;
    tensor["dtype"] = "uint8";
    tensor["shape"] = nlohmann::json::array({bytes});
  };
  for (auto& tensor : manifest["base"]["tensors"]) rename(tensor, "model.norm.weight");
  for (auto& program : manifest["programs"]) {
    for (auto& method : program["methods"]) {
      for (auto& input : method["inputs"]) rename(input, "norm.weight");
    }
  }
  write_manifest(manifest);
  EXPECT_EQ(open(), PL_BUNDLE_MISMATCH);
  EXPECT_NE(message_.find("expected uint8"), std::string::npos) << message_;
  EXPECT_NE(message_.find("expected shape [" + std::to_string(bytes) + "]"), std::string::npos) << message_;
}

TEST_F(DamagedBundleTest, HugeLimitsAreRefused) {
  const nlohmann::json valid = nlohmann::json::parse(info_.manifest_json);
  for (const auto& [name, value] : valid["limits"].items()) {
    for (const int64_t huge : {int64_t{1} << 62, int64_t{1} << 31}) {
      nlohmann::json manifest = valid;
      manifest["limits"][name] = huge;
      write_manifest(manifest);
      EXPECT_EQ(open(), PL_BUNDLE_CORRUPT) << name;
      EXPECT_NE(message_.find("limits." + name), std::string::npos) << message_;
    }
  }
}

TEST_F(DamagedBundleTest, AMisnamedTensorIsFoundWhenOpening) {
  const nlohmann::json valid = nlohmann::json::parse(info_.manifest_json);
  for (const char* side : {"inputs", "outputs"}) {
    nlohmann::json manifest = valid;
    manifest["programs"][0]["methods"][2][side].back()["name"] = "misnamed";
    write_manifest(manifest);
    EXPECT_EQ(open(), PL_BUNDLE_CORRUPT);
    EXPECT_NE(message_.find("misnamed"), std::string::npos) << message_;
  }
}

TEST_F(DamagedBundleTest, AFileThatCannotBeReadIsNotCalledDamaged) {
  if (::geteuid() == 0) GTEST_SKIP() << "root may read everything";
  fs::permissions(copy_ / "config.json", fs::perms::none);
  EXPECT_EQ(open(), PL_IO_READ);
  EXPECT_NE(message_.find("config.json"), std::string::npos) << message_;
}

TEST_F(DamagedBundleTest, TensorsOfTheBaseMustAgreeWithTheManifest) {
  nlohmann::json manifest = nlohmann::json::parse(info_.manifest_json);
  manifest["base"]["tensors"].push_back(
      {{"name", "model.extra.weight"}, {"kind", "dense"}, {"dtype", "float32"}, {"shape", {1}}, {"nbytes", 4}});
  write_manifest(manifest);
  EXPECT_EQ(open(), PL_BUNDLE_CORRUPT);
  EXPECT_NE(message_.find("'model.extra.weight' is missing"), std::string::npos) << message_;
}

TEST_F(DamagedBundleTest, ADamagedTableOfTensorsIsFoundWithoutHashingTheBase) {
  const Result<Manifest> manifest = parse_manifest(info_.manifest_json, "manifest.json");
  ASSERT_TRUE(manifest.ok());
  const fs::path path = copy_ / manifest.value().base_file;
  const std::string bytes = read_file(path);
  const auto table = static_cast<size_t>(manifest.value().base_table_bytes);
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  const auto put = [&file](size_t at, char value) {
    file.seekp(static_cast<std::streamoff>(at));
    file.put(value);
    file.flush();
  };
  for (size_t at = 0; at < table; at += 13) {
    put(at, static_cast<char>(bytes[at] ^ 0x80));
    EXPECT_EQ(BaseMap::open(path.string(), manifest.value()).status().code(), PL_BUNDLE_CORRUPT) << "byte " << at;
    put(at, bytes[at]);
  }
  EXPECT_TRUE(BaseMap::open(path.string(), manifest.value()).ok());
}

// The manifest and its hash, the programs, the table of the base; the weights themselves are hashed on request only.
TEST_F(DamagedBundleTest, RandomDamageIsFound) {
  const Result<Manifest> manifest = parse_manifest(info_.manifest_json, "manifest.json");
  ASSERT_TRUE(manifest.ok());
  std::vector<Target> targets = {{"manifest.json"}, {"manifest.sha256"}};
  targets.push_back({manifest.value().base_file, static_cast<size_t>(manifest.value().base_table_bytes)});
  constexpr size_t kProgramHeader = 4096;
  for (const ProgramSpec& program : manifest.value().programs) {
    targets.push_back({program.file});
    targets.push_back({program.file, kProgramHeader});
  }
  const fs::path other = copy_ / "other";
  fs::create_directory(other);
  std::map<std::string, std::string> originals;
  for (const Target& target : targets) {
    const std::string& bytes = originals[target.file] = read_file(copy_ / target.file);
    fs::create_directories((other / target.file).parent_path());
    write_file(other / target.file, {bytes.rbegin(), bytes.rend()});
  }
  int harmless = 0;
  for (uint64_t seed = 0; seed < 300; ++seed) {
    const Damage damage = Corruption(seed).apply(copy_.string(), targets, other.string());
    SCOPED_TRACE("seed " + std::to_string(seed) + ": " + damage.file + ", " + damage.what);
    const pl_status status = open();
    if (status == PL_OK) {
      // What follows the 64 digits is for people.
      ++harmless;
      EXPECT_EQ(damage.file, "manifest.sha256");
      EXPECT_EQ(read_file(copy_ / damage.file).substr(0, 64), originals[damage.file].substr(0, 64));
    } else {
      EXPECT_TRUE(status == PL_BUNDLE_CORRUPT || status == PL_BUNDLE_MISSING_FILE) << pl_status_name(status);
      EXPECT_NE(message_.find(damage.file), std::string::npos) << message_;
    }
    if (damage.kind == DamageKind::kSwappedFile) fs::rename(copy_ / damage.file, other / damage.file);
    write_file(copy_ / damage.file, originals[damage.file]);
  }
  EXPECT_EQ(open(), PL_OK) << message_;
  EXPECT_LT(harmless, 30);
}

// A manifest edited by hand and hashed again: what cannot work is refused, and what opens computes without harm.
TEST_F(DamagedBundleTest, EditedManifestsAreRefusedOrDoNoHarm) {
  const std::string original = read_file(copy_ / "manifest.json");
  int refused = 0;
  for (uint64_t seed = 0; seed < 200; ++seed) {
    write_file(copy_ / "manifest.json", original);
    const Damage damage = Corruption(1000 + seed).apply(copy_.string(), {{"manifest.json"}});
    if (damage.kind == DamageKind::kDeleted) continue;
    SCOPED_TRACE("seed " + std::to_string(1000 + seed) + ": " + damage.what);
    seal_manifest(copy_);
    Error problem;
    pl_engine_options options = engine_options();
    options.num_threads = 1;
    const EngineHandle engine = open_engine(copy_.string(), &options, &problem);
    if (!engine) {
      ++refused;
      const int group = static_cast<int>(problem.status) / 100;
      EXPECT_TRUE(group == PL_BUNDLE_CORRUPT / 100 || problem.status == PL_BACKEND_MISSING) << problem.message;
      EXPECT_NE(problem.message.find(copy_.string()), std::string::npos) << problem.message;
      continue;
    }
    pl_engine_info info = {};
    info.struct_size = sizeof(info);
    ASSERT_EQ(pl_engine_get_info(engine.get(), &info), PL_OK);
    const SessionHandle session = create_session(engine.get(), nullptr, &problem);
    if (!session) continue;
    std::vector<float> logits(static_cast<size_t>(info.vocab_size));
    const std::vector<int64_t> tokens = {1, 2, 3};
    (void)pl_session_prefill(session.get(), tokens.data(), tokens.size(), logits.data());
  }
  std::printf("%d of 200 refused\n", refused);
  EXPECT_GT(refused, 100);
}

TEST_F(DamagedBundleTest, AnUnknownBackendIsRefused) {
  pl_engine_options options = engine_options();
  options.backend = "quantum";
  Error problem;
  EXPECT_FALSE(open_engine(copy_.string(), &options, &problem));
  EXPECT_EQ(problem.status, PL_BACKEND_MISSING);
  EXPECT_NE(problem.message.find("it has cpu"), std::string::npos) << problem.message;
}

}  // namespace
}  // namespace pocketlora
