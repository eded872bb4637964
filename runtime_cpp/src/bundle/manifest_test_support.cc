#include "bundle/manifest_test_support.h"

namespace pocketlora {
namespace {

using nlohmann::json;

json tensor(const char* name, const char* source, json shape) {
  return {{"name", name}, {"source", source}, {"dtype", "float32"}, {"shape", std::move(shape)}};
}

json weight() {
  return {{"name", "self_attn.q_proj.weight"}, {"source", "weight"}, {"dtype", "uint8"}, {"shape", {1, 1, 1088}}};
}

json block_method(const char* name) {
  return {{"name", name},
          {"t_min", 2},
          {"t_max", 8},
          {"arena_bytes", 64},
          {"inputs",
           {tensor("hidden", "runtime", {"N", 16}), weight(), tensor("self_attn.q_proj.lora_A", "adapter", {"R", 16}),
            tensor("self_attn.q_proj.lora_B", "adapter", {16, "R"}),
            tensor("self_attn.q_proj.lora_scale", "adapter", json::array({"R"}))}},
          {"outputs", {{{"name", "hidden"}, {"dtype", "float32"}, {"shape", {"N", 16}}}}}};
}

json end_method(const char* name) {
  return {{"name", name},
          {"t_min", 1},
          {"t_max", 8},
          {"arena_bytes", 0},
          {"inputs", json::array()},
          {"outputs", json::array()}};
}

json program(const char* kind, const char* first, const char* second) {
  return {{"backend", "cpu"},
          {"kind", kind},
          {"file", std::string("programs/cpu/") + kind + ".pte"},
          {"methods", {end_method("embed"), block_method(first), block_method(second), end_method("head")}}};
}

json stages(const char* kind, json methods) {
  const json end = {{"method", "embed"}, {"weights", json::object()}};
  const json head = {{"method", "head"}, {"weights", json::object()}};
  const json block = {{"layer", 0},
                      {"methods", std::move(methods)},
                      {"weights", {{"self_attn.q_proj.weight", "model.layers.0.self_attn.q_proj.weight"}}},
                      {"sites", {{"self_attn.q_proj", "model.layers.0.self_attn.q_proj"}}}};
  return {{"backend", "cpu"}, {"kind", kind}, {"embed", end}, {"blocks", json::array({block})}, {"head", head}};
}

json file(const char* path, int size) { return {{"path", path}, {"size", size}, {"sha256", std::string(64, 'a')}}; }

}  // namespace

json valid_manifest() {
  json manifest;
  manifest["schema_version"] = "1.0";
  manifest["model"] = {{"family", "llama"}, {"name", "test"},      {"hidden_size", 16}, {"num_layers", 1},
                       {"num_heads", 2},    {"num_kv_heads", 1},   {"head_dim", 8},     {"vocab_size", 32},
                       {"bos_token_id", 1}, {"eos_token_ids", {2}}};
  manifest["limits"] = {{"max_seq_len", 16},  {"train_t_min", 2}, {"train_t_max", 8}, {"prefill_t_min", 2},
                        {"prefill_t_max", 8}, {"max_rank", 4},    {"max_segments", 3}};
  const json site = {{"name", "model.layers.0.self_attn.q_proj"},
                     {"layer", 0},
                     {"module", "q_proj"},
                     {"in_features", 16},
                     {"out_features", 16}};
  manifest["adapter"] = {{"target_modules", {"q_proj"}}, {"max_rank", 4}, {"sites", json::array({site})}};
  const json base = {{"name", "model.layers.0.self_attn.q_proj.weight"},
                     {"kind", "q4"},
                     {"dtype", "uint8"},
                     {"shape", {1, 1, 1088}},
                     {"nbytes", 1088}};
  manifest["base"] = {{"file", "base.ptd"},
                      {"table_bytes", 512},
                      {"table_sha256", std::string(64, 'b')},
                      {"tensors", json::array({base})}};
  manifest["programs"] = {program("train", "block_forward", "block_backward"),
                          program("infer", "block_prefill", "block_decode")};
  manifest["stages"] = {stages("train", {{"forward", "block_forward"}, {"backward", "block_backward"}}),
                        stages("infer", {{"prefill", "block_prefill"}, {"decode", "block_decode"}})};
  manifest["files"] = {file("base.ptd", 2048), file("programs/cpu/train.pte", 10), file("programs/cpu/infer.pte", 10)};
  return manifest;
}

}  // namespace pocketlora
