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

json output(const char* name, json shape) {
  return {{"name", name}, {"dtype", "float32"}, {"shape", std::move(shape)}};
}

json int64_input(const char* name, const char* dim) {
  return {{"name", name}, {"source", "runtime"}, {"dtype", "int64"}, {"shape", json::array({dim})}};
}

json method(const char* name, int t_max, json inputs, json outputs) {
  return {{"name", name},
          {"t_min", 1},
          {"t_max", t_max},
          {"arena_bytes", 64},
          {"inputs", std::move(inputs)},
          {"outputs", std::move(outputs)}};
}

json block_method(const char* name, int t_max, const json& own_inputs, json outputs) {
  json inputs = {tensor("hidden", "runtime", {"N", 16}),
                 weight(),
                 tensor("self_attn.q_proj.lora_A", "adapter", {"R", 16}),
                 tensor("self_attn.q_proj.lora_B", "adapter", {16, "R"}),
                 tensor("self_attn.q_proj.lora_scale", "adapter", json::array({"R"})),
                 tensor("rope", "runtime", {"N", 8})};
  inputs.insert(inputs.end(), own_inputs.begin(), own_inputs.end());
  return method(name, t_max, std::move(inputs), std::move(outputs));
}

json train_method(const char* name, bool backward) {
  json inputs = {int64_input("segments", "S1"), tensor("dropout", "runtime", json::array({1})),
                 int64_input("seed", "N")};
  inputs[2]["shape"] = json::array({1});
  if (!backward) return block_method(name, 8, inputs, json::array({output("hidden", {"N", 16})}));
  inputs.push_back(tensor("grad_hidden", "runtime", {"N", 16}));
  return block_method(name, 8, inputs,
                      {output("grad_hidden", {"N", 16}), output("self_attn.q_proj.lora_A.grad", {"R", 16}),
                       output("self_attn.q_proj.lora_B.grad", {16, "R"})});
}

json infer_method(const char* name, int t_max) {
  json past = int64_input("past", "N");
  past["shape"] = json::array({1});
  json k_cache = tensor("k_cache", "runtime", {"C", "K"}), v_cache = tensor("v_cache", "runtime", {"C", "K"});
  k_cache["dtype"] = v_cache["dtype"] = "uint8";
  return block_method(name, t_max, {past, k_cache, v_cache},
                      {output("hidden", {"N", 16}), output("k", {"N", 8}), output("v", {"N", 8})});
}

json embed_method() {
  return method("embed", 8, {int64_input("tokens", "N"), int64_input("positions", "N")},
                {output("hidden", {"N", 16}), output("rope", {"N", 8})});
}

json train_head() {
  return method(
      "head", 8,
      {tensor("hidden", "runtime", {"N", 16}), int64_input("labels", "N"),
       tensor("weights", "runtime", json::array({"N"}))},
      {output("logprobs", json::array({"N"})), output("loss", json::array({1})), output("grad_hidden", {"N", 16})});
}

json infer_head() {
  return method("head", 1, json::array({tensor("hidden", "runtime", {1, 16})}),
                json::array({output("logits", {1, 32})}));
}

json memory_row(int rows) {
  return {{"rows", rows}, {"arena", 4096 * rows}, {"scratch", 1000 * rows}, {"scratch_per_thread", 100}};
}

json program(const char* kind, json methods) {
  return {{"backend", "cpu"},
          {"kind", kind},
          {"file", std::string("programs/cpu/") + kind + ".pte"},
          {"delegates", json::array()},
          {"methods", std::move(methods)},
          {"memory_rows",
           kind == std::string("train") ? json{memory_row(4), memory_row(8)} : json::array({memory_row(8)})}};
}

json stages(const char* kind, json methods) {
  const json end = {{"method", "embed"}, {"weights", json::object()}};
  const json head = {{"method", "head"}, {"weights", json::object()}};
  const json block = {{"layer", 0},
                      {"methods", std::move(methods)},
                      {"weights", {{"self_attn.q_proj.weight", "model.layers.0.self_attn.q_proj.weight"}}},
                      {"sites", {{"self_attn.q_proj", "model.layers.0.self_attn.q_proj"}}},
                      {"window", nullptr}};
  return {{"backend", "cpu"}, {"kind", kind}, {"embed", end}, {"blocks", json::array({block})}, {"head", head}};
}

json file(const char* path, int size) { return {{"path", path}, {"size", size}, {"sha256", std::string(64, 'a')}}; }

}  // namespace

json valid_manifest() {
  json manifest;
  manifest["schema_version"] = "2.0";
  manifest["generator"] = {{"executorch", "1.0.0"}};
  manifest["model"] = {{"family", "llama"}, {"name", "test"},      {"hidden_size", 16}, {"num_layers", 1},
                       {"num_heads", 2},    {"num_kv_heads", 1},   {"head_dim", 8},     {"vocab_size", 32},
                       {"bos_token_id", 1}, {"eos_token_ids", {2}}};
  manifest["model"]["rope"] = json::array({{{"name", "rope"}, {"dim", 8}}});
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
  manifest["programs"] = {program("train", {embed_method(), train_method("block_forward", false),
                                            train_method("block_backward", true), train_head()}),
                          program("infer", {embed_method(), infer_method("block_prefill", 8),
                                            infer_method("block_decode", 1), infer_head()})};
  manifest["stages"] = {stages("train", {{"forward", "block_forward"}, {"backward", "block_backward"}}),
                        stages("infer", {{"prefill", "block_prefill"}, {"decode", "block_decode"}})};
  manifest["files"] = {file("base.ptd", 2048), file("programs/cpu/train.pte", 10), file("programs/cpu/infer.pte", 10)};
  return manifest;
}

}  // namespace pocketlora
