#include <cstdlib>
#include <limits>
#include <set>
#include <utility>

#include "bundle/manifest.h"
#include "common/json_access.h"

namespace pocketlora {
namespace {

bool parse_dtype(const std::string& text, DType* out) {
  for (const DType dtype : {DType::kFloat32, DType::kInt64, DType::kUint8}) {
    if (text == dtype_name(dtype)) {
      *out = dtype;
      return true;
    }
  }
  return false;
}

bool parse_symbol(const std::string& text, Dim::Kind* out) {
  static const std::pair<const char*, Dim::Kind> kSymbols[] = {{"N", Dim::Kind::kRows},
                                                               {"S1", Dim::Kind::kSegments},
                                                               {"C", Dim::Kind::kCache},
                                                               {"K", Dim::Kind::kCacheRow},
                                                               {"R", Dim::Kind::kRank}};
  for (const auto& [name, kind] : kSymbols) {
    if (text == name) {
      *out = kind;
      return true;
    }
  }
  return false;
}

/// Walks the document once; every problem goes to `problems`.
class Parser {
 public:
  Parser(Manifest* manifest, ProblemList* problems) : manifest_(*manifest), problems_(*problems) {}

  void parse(const JsonNode& root) {
    parse_model(root.require_object("model"));
    parse_limits(root.require_object("limits"));
    parse_files(root);
    parse_base(root.require_object("base"));
    parse_adapter(root.require_object("adapter"));
    const std::string lowered_by = root.require_object("generator").require_string("executorch");
    for (const JsonNode& node : root.require_array("programs")) {
      manifest_.programs.push_back(parse_program(node));
      manifest_.programs.back().lowered_by = lowered_by;
    }
    for (const JsonNode& node : root.require_array("stages")) manifest_.stages.push_back(parse_stages(node));
  }

 private:
  void problem(const JsonNode& node, const std::string& what) { problems_.add(node.path() + ": " + what); }

  /// A dimension of the programs, which count in int32.
  static int64_t require_size(const JsonNode& node, const char* key, int64_t minimum = 1) {
    return node.require_int(key, minimum, std::numeric_limits<int32_t>::max());
  }

  /// Programs read as many bytes of a weight as its shape has, so the base must hold just as many.
  void check_nbytes(const JsonNode& node, const BaseTensorSpec& tensor) {
    uint64_t expected = dtype_size(tensor.dtype);
    bool fits = true;
    for (const int64_t size : tensor.shape) {
      fits = fits && size >= 0 && !__builtin_mul_overflow(expected, static_cast<uint64_t>(size), &expected);
    }
    if (fits && expected == static_cast<uint64_t>(tensor.nbytes)) return;
    problem(node, "nbytes is " + std::to_string(tensor.nbytes) + ", its shape and dtype need " +
                      (fits ? std::to_string(expected) : std::string("more than there can be")));
  }

  void parse_model(const JsonNode& node) {
    ModelFacts& model = manifest_.model;
    model.family = node.require_string("family");
    model.name = node.require_string("name");
    model.hidden_size = require_size(node, "hidden_size");
    model.num_layers = require_size(node, "num_layers");
    model.num_heads = require_size(node, "num_heads");
    model.num_kv_heads = require_size(node, "num_kv_heads");
    model.head_dim = require_size(node, "head_dim");
    model.vocab_size = require_size(node, "vocab_size");
    for (const JsonNode& entry : node.require_array("rope")) {
      model.rope.push_back({entry.require_string("name"), require_size(entry, "dim")});
    }
    model.bos_token_id = node.optional_int("bos_token_id", -1);
    model.eos_token_ids = node.require_ints("eos_token_ids");
  }

  void parse_limits(const JsonNode& node) {
    Limits& limits = manifest_.limits;
    limits.max_seq_len = require_size(node, "max_seq_len");
    limits.train_t_min = require_size(node, "train_t_min");
    limits.train_t_max = require_size(node, "train_t_max", limits.train_t_min);
    limits.prefill_t_min = require_size(node, "prefill_t_min");
    limits.prefill_t_max = require_size(node, "prefill_t_max", limits.prefill_t_min);
    limits.max_rank = require_size(node, "max_rank");
    limits.max_segments = require_size(node, "max_segments");
  }

  void parse_files(const JsonNode& root) {
    for (const JsonNode& node : root.require_array("files")) {
      FileSpec file{node.require_string("path"), node.require_int("size", 0), node.require_string("sha256")};
      if (file.sha256.size() != 64) problem(node, "sha256 must have 64 hex digits");
      if (file.path.empty() || file.path[0] == '/' || file.path.find("..") != std::string::npos) {
        problem(node, "path '" + file.path + "' leaves the bundle");
      }
      manifest_.files.push_back(std::move(file));
    }
  }

  void parse_base(const JsonNode& node) {
    manifest_.base_file = node.require_string("file");
    manifest_.base_table_bytes = node.require_int("table_bytes", 1);
    manifest_.base_table_sha256 = node.require_string("table_sha256");
    for (const JsonNode& entry : node.require_array("tensors")) {
      BaseTensorSpec tensor;
      tensor.name = entry.require_string("name");
      tensor.kind = entry.require_string("kind");
      tensor.dtype = dtype_of(entry);
      tensor.shape = entry.require_ints("shape");
      tensor.nbytes = entry.require_int("nbytes", 0);
      check_nbytes(entry, tensor);
      if (!manifest_.base_tensor_at.emplace(tensor.name, manifest_.base_tensors.size()).second) {
        problem(entry, "tensor '" + tensor.name + "' is listed twice");
      }
      manifest_.base_tensors.push_back(std::move(tensor));
    }
    for (const FileSpec& file : manifest_.files) {
      if (file.path == manifest_.base_file) manifest_.adapter.base_sha256 = file.sha256;
    }
    if (manifest_.adapter.base_sha256.empty()) problem(node, "'" + manifest_.base_file + "' is not listed in files");
  }

  void parse_adapter(const JsonNode& node) {
    AdapterLayout& layout = manifest_.adapter;
    layout.base_model_name = manifest_.model.name;
    layout.max_rank = require_size(node, "max_rank");
    if (layout.max_rank != manifest_.limits.max_rank) {
      problem(node, "max_rank is " + std::to_string(layout.max_rank) + ", limits.max_rank is " +
                        std::to_string(manifest_.limits.max_rank));
    }
    layout.target_modules = node.require_strings("target_modules");
    for (const JsonNode& entry : node.require_array("sites")) {
      layout.sites.push_back(
          {entry.require_string("name"), entry.require_int("layer", 0, manifest_.model.num_layers - 1),
           entry.require_string("module"), require_size(entry, "in_features"), require_size(entry, "out_features")});
      manifest_.site_at.emplace(layout.sites.back().name, layout.sites.size() - 1);
    }
  }

  DType dtype_of(const JsonNode& node) {
    DType dtype = DType::kFloat32;
    const std::string text = node.require_string("dtype");
    if (!text.empty() && !parse_dtype(text, &dtype)) {
      problem(node, "dtype '" + text + "' is not one of float32, int64, uint8");
    }
    return dtype;
  }

  Dim parse_dim(const JsonNode& node) {
    Dim dim;
    if (node.json().is_string()) {
      if (!parse_symbol(node.as_string(), &dim.kind)) {
        problem(node, "dimension '" + node.as_string() + "' is not one of N, S1, C, K, R");
      }
      return dim;
    }
    dim.size = node.as_int();
    if (dim.size < 0) problem(node, "a dimension is at least 0");
    return dim;
  }

  void parse_tensor(const JsonNode& node, TensorSpec* tensor) {
    tensor->name = node.require_string("name");
    tensor->dtype = dtype_of(node);
    for (const JsonNode& dim : node.require_array("shape")) tensor->shape.push_back(parse_dim(dim));
  }

  InputSpec parse_input(const JsonNode& node) {
    InputSpec input;
    parse_tensor(node, &input);
    const std::string source = node.require_string("source");
    if (source == "runtime") {
      input.source = InputSource::kRuntime;
    } else if (source == "weight") {
      input.source = InputSource::kWeight;
    } else if (source == "adapter") {
      input.source = InputSource::kAdapter;
    } else if (!source.empty()) {
      problem(node, "source '" + source + "' is not one of runtime, weight, adapter");
    }
    return input;
  }

  MethodSpec parse_method(const JsonNode& node) {
    MethodSpec method;
    method.name = node.require_string("name");
    method.t_min = node.require_int("t_min", 1);
    method.t_max = node.require_int("t_max", method.t_min);
    method.arena_bytes = node.optional_int("arena_bytes", 0);
    for (const JsonNode& input : node.require_array("inputs")) method.inputs.push_back(parse_input(input));
    for (const JsonNode& output : node.require_array("outputs")) {
      parse_tensor(output, &method.outputs.emplace_back());
    }
    return method;
  }

  ProgramSpec parse_program(const JsonNode& node) {
    ProgramSpec program;
    program.backend = node.require_string("backend");
    program.kind = node.require_string("kind");
    program.file = node.require_string("file");
    program.delegates = node.require_strings("delegates");
    program.constants = node.optional_string("constants", "");
    for (const JsonNode& method : node.require_array("methods")) program.methods.push_back(parse_method(method));
    program.memory_rows = parse_memory_rows(node);
    return program;
  }

  std::map<std::string, std::string> parse_names(const JsonNode& node) {
    std::map<std::string, std::string> names;
    for (const auto& [key, value] : node.members()) names[key] = value.as_string();
    return names;
  }

  StageSpec parse_stage(const JsonNode& node) {
    return {node.require_string("method"), parse_names(node.require_object("weights"))};
  }

  std::vector<MemoryRow> parse_memory_rows(const JsonNode& program) {
    constexpr int64_t kMost = int64_t{1} << 48;  // so that sums over threads cannot wrap
    std::vector<MemoryRow> table;
    for (const JsonNode& node : program.require_array("memory_rows")) {
      table.push_back({require_size(node, "rows"), node.require_int("arena", 0, kMost),
                       node.require_int("scratch", 0, kMost), node.require_int("scratch_per_thread", 0, kMost)});
    }
    return table;
  }

  StageSet parse_stages(const JsonNode& node) {
    StageSet set;
    set.backend = node.require_string("backend");
    set.kind = node.require_string("kind");
    set.embed = parse_stage(node.require_object("embed"));
    for (const JsonNode& entry : node.require_array("blocks")) {
      BlockSpec block;
      block.layer = entry.require_int("layer", 0);
      block.methods = parse_names(entry.require_object("methods"));
      block.weights = parse_names(entry.require_object("weights"));
      block.sites = parse_names(entry.require_object("sites"));
      block.window = entry.optional_int("window", 0);
      if (block.window < 0) problem(entry, "window: expected at least 1, found " + std::to_string(block.window));
      set.blocks.push_back(std::move(block));
    }
    set.head = parse_stage(node.require_object("head"));
    return set;
  }

  Manifest& manifest_;
  ProblemList& problems_;
};

Status check_version(const JsonNode& root, Manifest* manifest, const ProblemList& problems, const std::string& path) {
  manifest->schema_version = root.require_string("schema_version");
  PL_RETURN_IF_ERROR(problems.to_status(PL_BUNDLE_CORRUPT, path + " is not a manifest:"));
  const std::string& version = manifest->schema_version;
  char* end = nullptr;
  const long major = std::strtol(version.c_str(), &end, 10);
  if (end == version.c_str() || *end != '.') {
    return error(PL_BUNDLE_CORRUPT, "%s: schema_version: expected MAJOR.MINOR, found '%s'", path.c_str(),
                 version.c_str());
  }
  if (major != kSchemaMajor) {
    return error(PL_BUNDLE_VERSION, "%s: schema version %s is not supported: this runtime reads versions %d.x",
                 path.c_str(), version.c_str(), kSchemaMajor);
  }
  return Status();
}

}  // namespace

Result<Manifest> parse_manifest(std::string text, const std::string& path) {
  PL_ASSIGN_OR_RETURN(const Json document, parse_json(text, path, PL_BUNDLE_CORRUPT));
  Manifest manifest;
  ProblemList problems;
  const JsonNode root(document, "", &problems);
  PL_RETURN_IF_ERROR(check_version(root, &manifest, problems, path));
  Parser(&manifest, &problems).parse(root);
  manifest.text = std::move(text);
  check_references(manifest, &problems);
  PL_RETURN_IF_ERROR(problems.to_status(PL_BUNDLE_CORRUPT, path + " is not a valid manifest:"));
  return manifest;
}

}  // namespace pocketlora
