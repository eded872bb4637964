#include "bundle/manifest.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <iterator>
#include <limits>
#include <map>
#include <set>
#include <string_view>

#include "bundle/checked_size.h"
#include "bundle/manifest_test_support.h"

namespace pocketlora {
namespace {

using nlohmann::json;

Status parse(const json& document) { return parse_manifest(document.dump(), "manifest.json").status(); }

void expect_problem(const Status& status, const std::string& text) {
  EXPECT_NE(status.message().find(text), std::string::npos) << "expected '" << text << "' in: " << status.message();
}

TEST(Manifest, ReadsWhatTheRuntimeNeeds) {
  const Result<Manifest> result = parse_manifest(valid_manifest().dump(), "manifest.json");
  ASSERT_TRUE(result.ok()) << result.status().message();
  const Manifest& manifest = result.value();
  EXPECT_EQ(manifest.model.hidden_size, 16);
  EXPECT_EQ(manifest.limits.train_t_max, 8);
  EXPECT_EQ(manifest.adapter.base_sha256, std::string(64, 'a'));
  EXPECT_EQ(manifest.adapter.sites.at(0).name, "model.layers.0.self_attn.q_proj");
  EXPECT_EQ(manifest.site_index("model.layers.0.self_attn.q_proj"), 0);
  EXPECT_EQ(manifest.site_index("model.layers.1.self_attn.q_proj"), -1);
  const ProgramSpec* train = manifest.find_program("cpu", "train");
  ASSERT_NE(train, nullptr);
  const MethodSpec* forward = train->find_method("block_forward");
  ASSERT_NE(forward, nullptr);
  EXPECT_EQ(shape_text(forward->inputs.at(2).shape), "[R, 16]");
  EXPECT_EQ(forward->inputs.at(2).source, InputSource::kAdapter);
  EXPECT_EQ(manifest.find_program("vulkan", "train"), nullptr);
}

TEST(Manifest, ReadsTheMemoryTables) {
  const Manifest manifest = parse_manifest(valid_manifest().dump(), "m").value();
  ASSERT_EQ(manifest.programs[0].memory_rows.size(), 2U);
  ASSERT_EQ(manifest.programs[1].memory_rows.size(), 1U);
  const MemoryRow& row = manifest.programs[0].memory_rows[1];
  EXPECT_EQ(row.rows, 8);
  EXPECT_EQ(row.arena, 32768);
  EXPECT_EQ(row.scratch, 8000);
  EXPECT_EQ(row.scratch_per_thread, 100);
}

TEST(Manifest, MemoryTablesAscendToTheirLimit) {
  const auto changed = [](int program, auto change) {
    json document = valid_manifest();
    change(document["programs"][program]["memory_rows"]);
    return parse(document);
  };
  for (int program = 0; program < 2; ++program) {
    const std::string kind = program == 0 ? "train" : "infer", where = "programs(cpu, " + kind + ").memory_rows";
    json document = valid_manifest();
    document["programs"][program].erase("memory_rows");
    expect_problem(parse(document), "programs[" + std::to_string(program) + "].memory_rows");
    expect_problem(changed(program, [](json& table) { table = json::array(); }),
                   where + " ends at 0 rows, it must end at the limit of 8");
    expect_problem(changed(program, [](json& table) { table.back()["rows"] = 7; }),
                   where + " ends at 7 rows, it must end at the limit of 8");
    expect_problem(changed(program, [](json& table) { table.push_back(table.back()); }),
                   "rows is 8 after 8, the table must ascend");
    for (const char* key : {"rows", "arena", "scratch", "scratch_per_thread"}) {
      for (const int64_t value : {int64_t{-1}, int64_t{1} << 62}) {
        expect_problem(changed(program, [&](json& table) { table[0][key] = value; }),
                       "programs[" + std::to_string(program) + "].memory_rows[0]." + key);
      }
    }
  }
}

TEST(Manifest, ReadsDelegatesAndTheVersionThatLowered) {
  json document = valid_manifest();
  document["programs"][1]["delegates"] = {"SomeBackend"};
  document["generator"]["executorch"] = "9.8.7";
  const Manifest manifest = parse_manifest(document.dump(), "m").value();
  EXPECT_TRUE(manifest.programs[0].delegates.empty());
  EXPECT_EQ(manifest.programs[1].delegates, std::vector<std::string>{"SomeBackend"});
  EXPECT_EQ(manifest.programs[1].lowered_by, "9.8.7");
  document["programs"][0].erase("delegates");
  document["generator"].erase("executorch");
  expect_problem(parse(document), "programs[0].delegates");
  expect_problem(parse(document), "generator.executorch");
}

TEST(Manifest, AProgramWithConstantsIsNotHeldToTheStages) {
  json document = valid_manifest();
  EXPECT_TRUE(parse_manifest(document.dump(), "m").value().programs[0].constants.empty());
  json fixed = document["programs"][0], stages = document["stages"][0];
  fixed["backend"] = stages["backend"] = "gpu";
  fixed["constants"] = "programs/gpu/constants.ptd";
  fixed["methods"].erase(0);
  document["programs"].push_back(fixed);
  document["stages"].push_back(stages);
  expect_problem(parse(document), "'programs/gpu/constants.ptd' is not in files");
  json file = document["files"][0];
  file["path"] = "programs/gpu/constants.ptd";
  document["files"].push_back(file);
  EXPECT_EQ(parse_manifest(document.dump(), "m").value().programs.back().constants, "programs/gpu/constants.ptd");
  document["programs"].back()["constants"] = nullptr;  // weights are inputs, so every method must be there
  expect_problem(parse(document), "stages(gpu, train)");
}

TEST(Manifest, NullBosMeansNone) {
  json document = valid_manifest();
  document["model"]["bos_token_id"] = nullptr;
  EXPECT_EQ(parse_manifest(document.dump(), "m").value().model.bos_token_id, -1);
}

TEST(Manifest, RefusesAnUnknownMajorVersion) {
  json document = valid_manifest();
  document["schema_version"] = "3.0";
  document.erase("model");  // whatever a newer schema looks like
  const Status status = parse(document);
  EXPECT_EQ(status.code(), PL_BUNDLE_VERSION);
  expect_problem(status, "3.0");
}

TEST(Manifest, ReadsANewerMinorVersion) {
  json document = valid_manifest();
  document["schema_version"] = "2.7";
  document["news"] = "ignored";
  EXPECT_TRUE(parse(document).ok());
}

TEST(Manifest, NamesEveryMissingKeyByItsPath) {
  json document = valid_manifest();
  document["model"].erase("hidden_size");
  document["limits"].erase("max_rank");
  document["adapter"]["sites"][0].erase("in_features");
  document["files"][1].erase("sha256");
  const Status status = parse(document);
  EXPECT_EQ(status.code(), PL_BUNDLE_CORRUPT);
  for (const char* path : {"model.hidden_size", "limits.max_rank", "adapter.sites[0].in_features", "files[1].sha256"}) {
    expect_problem(status, path);
  }
}

TEST(Manifest, SurvivesAnyWrongType) {
  // Members are replaced by values of every type, at every depth: an error or success, never a crash. Where a list
  // holds several of a kind, its first takes every type, and each of the others one in turn.
  const json valid = valid_manifest();
  const json values[] = {nullptr, true, -1, 1.5, "text", json::array(), json::array({1, "a", nullptr}), json::object()};
  const json leaves = valid.flatten();
  std::set<std::string> places;
  for (auto leaf = leaves.begin(); leaf != leaves.end(); ++leaf) {
    for (json::json_pointer at(leaf.key()); !at.empty(); at.pop_back()) places.insert(at.to_string());
  }
  const auto kind_of = [](json::json_pointer at) {
    std::string kind;
    for (; !at.empty(); at.pop_back()) kind += "/" + (std::isdigit(at.back()[0]) != 0 ? "#" : at.back());
    return kind;
  };
  std::map<std::string, size_t> seen;  // how many places of each kind
  size_t refused = 0, tried = 0;
  for (const std::string& place : places) {
    const size_t before = seen[kind_of(json::json_pointer(place))]++;
    for (size_t i = 0; i < std::size(values); ++i) {
      if (before > 0 && i != before % std::size(values)) continue;
      json document = valid;
      document[json::json_pointer(place)] = values[i];
      refused += parse(document).ok() ? 0 : 1;
      ++tried;
    }
  }
  EXPECT_GT(tried, places.size());
  EXPECT_GT(refused, tried / 2);
}

TEST(Manifest, RefusesWhatIsNotJson) {
  EXPECT_EQ(parse_manifest("{\"schema_version\": ", "m").status().code(), PL_BUNDLE_CORRUPT);
  EXPECT_EQ(parse_manifest("[]", "m").status().code(), PL_BUNDLE_CORRUPT);
  EXPECT_EQ(parse_manifest("", "m").status().code(), PL_BUNDLE_CORRUPT);
}

TEST(Manifest, RefusesPathsThatLeaveTheBundle) {
  json document = valid_manifest();
  document["files"][1]["path"] = "../programs/cpu/train.pte";
  expect_problem(parse(document), "leaves the bundle");
}

TEST(Manifest, ReferencesMustExist) {
  json document = valid_manifest();
  document["stages"][0]["embed"]["method"] = "embedding";
  document["stages"][1]["blocks"][0]["weights"] = json::object();
  document["stages"][1]["blocks"][0]["sites"]["self_attn.q_proj"] = "model.layers.9.self_attn.q_proj";
  const Status status = parse(document);
  EXPECT_EQ(status.code(), PL_BUNDLE_CORRUPT);
  expect_problem(status, "'embedding'");
  expect_problem(status, "bound to no weight");
  expect_problem(status, "model.layers.9.self_attn.q_proj");
}

TEST(Manifest, WeightsMustFitTheirInputs) {
  json document = valid_manifest();
  document["base"]["tensors"][0]["shape"] = {1, 2, 1088};
  document["base"]["tensors"][0]["nbytes"] = 2176;
  expect_problem(parse(document), "expects uint8 [1, 1, 1088], the base has uint8 [1, 2, 1088]");
}

TEST(Manifest, SitesMustFitTheirInputs) {
  json document = valid_manifest();
  document["adapter"]["sites"][0]["in_features"] = 8;
  expect_problem(parse(document), "has [R, 8], the method expects [R, 16]");
}

TEST(Manifest, DecodeEmbedsASingleRow) {
  json document = valid_manifest();
  document["programs"][1]["methods"][0]["t_min"] = 2;
  expect_problem(parse(document), "embed takes 2 to 8 rows, its stage must take 1 to 8");
}

TEST(Manifest, SizesAreBoundedSoThatTheyCannotWrap) {
  for (const char* path : {"/model/hidden_size", "/model/num_layers", "/model/num_kv_heads", "/model/head_dim",
                           "/model/vocab_size", "/limits/max_seq_len", "/limits/train_t_max", "/limits/prefill_t_max",
                           "/limits/max_rank", "/limits/max_segments", "/adapter/max_rank"}) {
    json document = valid_manifest();
    document[json::json_pointer(path)] = int64_t{1} << 62;
    const Status status = parse(document);
    EXPECT_EQ(status.code(), PL_BUNDLE_CORRUPT) << path;
    expect_problem(status, "4611686018427387904");
  }
}

TEST(Manifest, BufferSizesAreChecked) {
  EXPECT_EQ(bytes_of({3, 5, 4}).value(), 60U);
  EXPECT_EQ(bytes_of({3, 0, 4}).value(), 0U);
  const int64_t large = std::numeric_limits<int32_t>::max();
  EXPECT_EQ(bytes_of({large, large, 16}).status().code(), PL_OUT_OF_MEMORY);
  EXPECT_EQ(bytes_of({int64_t{1} << 62, 256, 4}).status().code(), PL_OUT_OF_MEMORY);
  EXPECT_EQ(bytes_of({-1, 4}).status().code(), PL_OUT_OF_MEMORY);
}

TEST(Manifest, LimitsMustFitTheMethods) {
  for (const char* limit : {"train_t_max", "prefill_t_max"}) {
    json document = valid_manifest();
    document["limits"][limit] = 9;
    expect_problem(parse(document), "block_" + std::string(limit[0] == 't' ? "backward" : "prefill") +
                                        " takes 1 to 8 rows, its stage must take 2 to 9");
  }
  for (const int program : {0, 1}) {
    for (const int method : {0, 1, 2, 3}) {
      json document = valid_manifest();
      json& spec = document["programs"][program]["methods"][method];
      spec["t_min"] = spec["t_max"] = spec["t_max"].get<int>() + 1;
      expect_problem(parse(document), spec["name"].get<std::string>() + " takes");
    }
  }
  json document = valid_manifest();
  document["limits"]["max_rank"] = 8;
  expect_problem(parse(document), "max_rank is 4, limits.max_rank is 8");
}

TEST(Manifest, ATensorHasTheBytesOfItsShape) {
  for (const int64_t size : {int64_t{1}, int64_t{1} << 62, int64_t{-1}}) {
    json document = valid_manifest();
    json extra = document["base"]["tensors"][0];
    extra["name"] = "extra";
    extra["dtype"] = "float32";
    extra["shape"] = {4, size};
    extra["nbytes"] = 0;
    document["base"]["tensors"].push_back(extra);
    expect_problem(parse(document), "base.tensors[1]: nbytes is 0, its shape and dtype need");
  }
}

TEST(Manifest, UnknownRolesAreRefused) {
  json document = valid_manifest();
  document["stages"][0]["blocks"][0]["methods"]["sideways"] = "block_forward";
  expect_problem(parse(document), "methods.sideways: is not a known role");
}

/// With methods that keep a product f32 [N, 24] for the backward.
json keeping_manifest() {
  json document = valid_manifest();
  json& methods = document["programs"][0]["methods"];
  json keep = methods[1], kept = methods[2], product = keep["outputs"][0];
  keep["name"] = "block_forward_keep";
  kept["name"] = "block_backward_kept";
  product["name"] = "mlp.up_proj.kept";
  product["shape"] = {"N", 24};
  keep["outputs"].push_back(product);
  product["source"] = "runtime";
  kept["inputs"].push_back(product);
  methods.push_back(keep);
  methods.push_back(kept);
  json& roles = document["stages"][0]["blocks"][0]["methods"];
  roles["forward_keep"] = "block_forward_keep";
  roles["backward_kept"] = "block_backward_kept";
  return document;
}

TEST(Manifest, ALayerMayKeepProductsForTheBackward) {
  const json valid = keeping_manifest();
  const Result<Manifest> manifest = parse_manifest(valid.dump(), "manifest.json");
  ASSERT_TRUE(manifest.ok()) << manifest.status().message();
  json document = valid;
  document["stages"][0]["blocks"][0]["methods"].erase("forward_keep");
  expect_problem(parse(document), "methods.forward_keep: missing");
  const auto methods = [&document]() -> json& { return document["programs"][0]["methods"]; };
  document = valid;
  methods()[5]["inputs"].back()["shape"] = {"N", 25};
  expect_problem(parse(document), "block_backward_kept reads are not those that block_forward_keep keeps");
  document = valid;
  methods()[4]["outputs"].back()["shape"] = {24, 24};
  expect_problem(parse(document), "'mlp.up_proj.kept': expected float32 [N, columns], found float32 [24, 24]");
  document = valid;
  methods()[4]["outputs"].erase(1);
  expect_problem(parse(document), "block_forward_keep: expected products to keep, found none");
  document = valid;
  methods()[1]["outputs"].push_back(methods()[4]["outputs"].back());
  expect_problem(parse(document), "output 'mlp.up_proj.kept' is not known");
  document = valid;
  document["stages"][1]["blocks"][0]["methods"]["forward_keep"] = "block_prefill";
  expect_problem(parse(document), "methods.forward_keep: is not a known role");
}

/// With a method that computes keys and values alone. It reads no weight of the layer's only site.
json keys_manifest() {
  json document = valid_manifest();
  json& methods = document["programs"][1]["methods"];
  json keys = methods[1];
  keys["name"] = "block_keys";
  keys["inputs"] = json::array({keys["inputs"][0], keys["inputs"][5]});
  keys["outputs"].erase(0);
  methods.push_back(keys);
  document["stages"][1]["blocks"][0]["methods"]["keys"] = "block_keys";
  return document;
}

TEST(Manifest, ALayerMayHaveAMethodForItsKeysAlone) {
  const json valid = keys_manifest();
  const Result<Manifest> manifest = parse_manifest(valid.dump(), "manifest.json");
  ASSERT_TRUE(manifest.ok()) << manifest.status().message();
  json document = valid;
  const auto keys = [&document]() -> json& { return document["programs"][1]["methods"][4]; };
  const json block = valid["programs"][1]["methods"][1];
  keys()["inputs"].push_back(block["inputs"][1]);  // a weight with a site, whose adapter it must read, too
  expect_problem(parse(document), "block_keys has no input 'self_attn.q_proj.lora_A'");
  document = valid;
  keys()["inputs"].push_back(block["inputs"].back());
  expect_problem(parse(document), "block_keys: input 'v_cache' is not known");
  document = valid;
  keys()["outputs"].erase(1);
  expect_problem(parse(document), "block_keys: expected one output 'v', found 0");
  document = valid;
  keys()["t_max"] = 1;
  expect_problem(parse(document), "block_keys takes 1 to 1 rows, its stage must take 2 to 8");
  document = valid;
  document["stages"][0]["blocks"][0]["methods"]["keys"] = "block_forward";
  expect_problem(parse(document), "methods.keys: is not a known role");
}

TEST(Manifest, TheRuntimesTensorsMustBeThoseOfTheirRole) {
  // Each runtime input and each output in turn: another name, another type, another shape, missing, or one too many.
  const json valid = valid_manifest();
  for (size_t program = 0; program < 2; ++program) {
    for (size_t method = 0; method < 4; ++method) {
      for (const char* side : {"inputs", "outputs"}) {
        const json& tensors = valid["programs"][program]["methods"][method][side];
        for (size_t i = 0; i < tensors.size(); ++i) {
          if (tensors[i].value("source", "") == "weight") continue;
          const auto refused = [&](const char* what, const auto& damage) {
            json document = valid;
            damage(document["programs"][program]["methods"][method][side]);
            EXPECT_EQ(parse(document).code(), PL_BUNDLE_CORRUPT) << what << " " << tensors[i].dump();
          };
          refused("renamed", [i](json& all) { all[i]["name"] = "misnamed"; });
          const char* another = tensors[i]["dtype"] == "uint8" ? "float32" : "uint8";
          refused("retyped", [i, another](json& all) { all[i]["dtype"] = another; });
          refused("reshaped", [i](json& all) { all[i]["shape"] = json::array({4096}); });
          // A block without a rotary embedding reads no table.
          const bool optional = tensors[i]["name"] == "rope" && std::string_view(side) == "inputs";
          if (!optional) refused("missing", [i](json& all) { all.erase(i); });
          refused("extra", [i](json& all) {
            all.push_back(all[i]);
            all.back()["name"] = "extra";
          });
        }
      }
    }
  }
}

TEST(Manifest, BlocksReadTheRotaryTablesThatTheModelHas) {
  json document = valid_manifest();
  json& train = document["programs"][0]["methods"];
  for (const size_t block : {1, 2}) {
    json& inputs = train[block]["inputs"];
    inputs.erase(
        std::remove_if(inputs.begin(), inputs.end(), [](const json& input) { return input["name"] == "rope"; }),
        inputs.end());
  }
  EXPECT_TRUE(parse(document).ok()) << parse(document).message();
  // A second table: embed must make it, a block may read it.
  document = valid_manifest();
  document["model"]["rope"].push_back({{"name", "rope_local"}, {"dim", 6}});
  expect_problem(parse(document), "expected one output 'rope_local', found 0");
  json table = {{"name", "rope_local"}, {"dtype", "float32"}, {"shape", {"N", 6}}};
  for (json& program : document["programs"]) program["methods"][0]["outputs"].push_back(table);
  EXPECT_TRUE(parse(document).ok()) << parse(document).message();
  table["source"] = "runtime";
  document["programs"][0]["methods"][1]["inputs"].push_back(table);
  EXPECT_TRUE(parse(document).ok()) << parse(document).message();
  document["model"]["rope"][1]["dim"] = 8;
  expect_problem(parse(document), "input 'rope_local': expected float32 [N, 8], found float32 [N, 6]");
}

TEST(Manifest, ABlockBindsTheSitesOfItsLayer) {
  json document = valid_manifest();
  json& sites = document["stages"][0]["blocks"][0]["sites"];
  sites["self_attn.k_proj"] = sites["self_attn.q_proj"];
  expect_problem(parse(document), "is bound twice");
  document = valid_manifest();
  document["adapter"]["sites"].push_back(document["adapter"]["sites"][0]);
  document["adapter"]["sites"][1]["name"] = "model.layers.0.self_attn.v_proj";
  expect_problem(parse(document), "adapter site 'model.layers.0.self_attn.v_proj' is not bound");
  document = valid_manifest();
  document["model"]["num_layers"] = 2;
  document["adapter"]["sites"][0]["layer"] = 1;
  expect_problem(parse(document), "'model.layers.0.self_attn.q_proj' belongs to another layer");
}

TEST(Manifest, EveryLayerMustBeThere) {
  json document = valid_manifest();
  document["model"]["num_layers"] = 2;
  expect_problem(parse(document), "expected 2 layers, found 1");
}

}  // namespace
}  // namespace pocketlora
