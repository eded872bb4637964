#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "adapters/adapter_layout.h"
#include "common/result.h"

namespace pocketlora {

/// The only major version of the manifest's schema that this reader knows.
inline constexpr int kSchemaMajor = 2;

/// Element types that cross the boundary between runtime and programs.
enum class DType { kFloat32, kInt64, kUint8 };

/// @return bytes of one element.
size_t dtype_size(DType dtype);
/// @return the name used in the manifest, "float32".
const char* dtype_name(DType dtype);

/// One dimension of a shape: a fixed size, or one of the dynamic ones of docs/manifest.md.
struct Dim {
  enum class Kind { kFixed, kRows, kSegments, kCache, kCacheRow, kRank };
  Kind kind = Kind::kFixed;
  int64_t size = 0;  ///< only for kFixed

  bool operator==(const Dim& other) const { return kind == other.kind && size == other.size; }
};

/// @return "[N, 256]".
std::string shape_text(const std::vector<Dim>& shape);

struct TensorSpec {
  std::string name;
  DType dtype = DType::kFloat32;
  std::vector<Dim> shape;
};

/// Who binds an input of a method.
enum class InputSource { kRuntime, kWeight, kAdapter };

struct InputSpec : TensorSpec {
  InputSource source = InputSource::kRuntime;
};

struct MethodSpec {
  std::string name;
  int64_t t_min = 1, t_max = 1;
  int64_t arena_bytes = 0;
  std::vector<InputSpec> inputs;
  std::vector<TensorSpec> outputs;
};

/// What a program takes, in bytes, when none of its calls has more than `rows` rows: pages of its arena that are
/// touched, and scratch (the kernels' own at max_rank, and the values between stages) with `threads` threads:
/// scratch + threads · scratch_per_thread.
struct MemoryRow {
  int64_t rows = 0, arena = 0, scratch = 0, scratch_per_thread = 0;
};

struct ProgramSpec {
  std::string backend, kind, file;
  std::string lowered_by;              ///< the version of ExecuTorch
  std::vector<std::string> delegates;  ///< that must be there to run it, by ExecuTorch's names
  std::string constants;               ///< file of its delegates' constants; "": weights are inputs
  std::vector<MethodSpec> methods;
  std::vector<MemoryRow> memory_rows;  ///< in ascending order, up to train_t_max or prefill_t_max

  /// @return nullptr when there is no such method.
  const MethodSpec* find_method(std::string_view name) const;
};

/// A stage that exists once: which method to call, and the base tensor bound to each of its weight inputs.
struct StageSpec {
  std::string method;
  std::map<std::string, std::string> weights;
};

/// One layer: method per role (forward, backward, and maybe forward_keep, backward_kept | prefill, decode, and maybe
/// keys), weights, and the adapter site behind each local name.
struct BlockSpec {
  int64_t layer = 0;
  std::map<std::string, std::string> methods;
  std::map<std::string, std::string> weights;
  std::map<std::string, std::string> sites;
  int64_t window = 0;  ///< keys that a token sees at most, itself included; 0 = all before it
};

struct StageSet {
  std::string backend, kind;
  StageSpec embed;
  std::vector<BlockSpec> blocks;
  StageSpec head;
};

struct BaseTensorSpec {
  std::string name, kind;
  DType dtype = DType::kUint8;
  std::vector<int64_t> shape;
  int64_t nbytes = 0;
};

struct FileSpec {
  std::string path;
  int64_t size = 0;
  std::string sha256;
};

/// A rotary table that embed makes: [N, dim], by the name of its input in the blocks.
struct RopeTable {
  std::string name;
  int64_t dim = 0;
};

struct ModelFacts {
  std::string family, architecture, name;
  int64_t hidden_size = 0, intermediate_size = 0, num_layers = 0, num_heads = 0, num_kv_heads = 0, head_dim = 0;
  int64_t vocab_size = 0;
  std::vector<RopeTable> rope;
  int64_t bos_token_id = -1;  ///< −1 = none
  std::vector<int64_t> eos_token_ids;

  /// @return columns of all rotary tables together.
  int64_t rope_width() const;
};

struct Limits {
  int64_t max_seq_len = 0, train_t_min = 0, train_t_max = 0, prefill_t_min = 0, prefill_t_max = 0, max_rank = 0;
  int64_t max_segments = 0;
};

/// The runtime's view of manifest.json (docs/manifest.md). Facts that only the toolchain needs are not kept.
struct Manifest {
  std::string text;  ///< the file as it is
  std::string schema_version;
  ModelFacts model;
  Limits limits;
  AdapterLayout adapter;  ///< sites in layer order, then q, k, v, o, gate, up, down
  std::string base_file;
  int64_t base_table_bytes = 0;  ///< the base's header and table of tensors: its first bytes
  std::string base_table_sha256;
  std::vector<BaseTensorSpec> base_tensors;
  std::unordered_map<std::string, size_t> base_tensor_at;  ///< name → index in base_tensors
  std::unordered_map<std::string, size_t> site_at;         ///< name → index in adapter.sites
  std::vector<ProgramSpec> programs;
  std::vector<StageSet> stages;
  std::vector<FileSpec> files;

  /// The lookups return nullptr when there is no such thing.
  const BaseTensorSpec* find_base_tensor(const std::string& name) const;
  const ProgramSpec* find_program(std::string_view backend, std::string_view kind) const;
  const StageSet* find_stages(std::string_view backend, std::string_view kind) const;
  /// @return the index in `adapter.sites`, or −1.
  int64_t site_index(const std::string& name) const;
};

/// Reads a manifest. @param path only names the file in messages.
/// Errors: BUNDLE_VERSION for an unknown major version, BUNDLE_CORRUPT with every missing or malformed key by its path.
Result<Manifest> parse_manifest(std::string text, const std::string& path);

/// Checks what names refer to: stages to methods, weight inputs to base tensors of the same type and shape, adapter
/// inputs to sites, programs and the base to files; each method against its role (stage_contract.h); and the tables of
/// memory against the limits. Part of parse_manifest.
void check_references(const Manifest& manifest, ProblemList* problems);

/// "self_attn.q_proj.lora_A" → site "self_attn.q_proj", part "lora_A".
struct AdapterInputName {
  std::string site, part;
};
AdapterInputName split_adapter_input(const std::string& name);

/// Whether an output is the gradient of an adapter input: "<site>.lora_A.grad".
bool is_gradient_name(std::string_view name);
/// Whether it is a product that one stage keeps for another: "<linear layer>.kept".
bool is_kept_name(std::string_view name);
/// Only for a gradient's name. @return "<site>.lora_A".
std::string gradient_input(std::string_view name);

}  // namespace pocketlora
