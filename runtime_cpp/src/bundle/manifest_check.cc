#include <algorithm>
#include <set>

#include "bundle/manifest.h"
#include "bundle/stage_contract.h"
#include "common/result.h"

namespace pocketlora {
namespace {

constexpr std::string_view kGradient = ".grad", kKept = ".kept";

bool ends_with(std::string_view name, std::string_view end) {
  return name.size() > end.size() && name.substr(name.size() - end.size()) == end;
}

bool lists_file(const Manifest& manifest, const std::string& path) {
  return std::any_of(manifest.files.begin(), manifest.files.end(),
                     [&path](const FileSpec& file) { return file.path == path; });
}

std::string sizes_text(const std::vector<int64_t>& sizes) {
  std::vector<Dim> dims;
  for (const int64_t size : sizes) dims.push_back({Dim::Kind::kFixed, size});
  return shape_text(dims);
}

template <typename T>
bool has_tensor(const std::vector<T>& tensors, const std::string& name) {
  return std::any_of(tensors.begin(), tensors.end(), [&name](const T& tensor) { return tensor.name == name; });
}

/// Checks one method as one stage calls it.
class StageChecker {
 public:
  StageChecker(const Manifest& manifest, const ProgramSpec& program, std::string where, ProblemList* problems)
      : manifest_(manifest), program_(program), where_(std::move(where)), problems_(*problems) {}

  /// @param role as in stage_contract(). @param sites those of the block's layer by their local names.
  void check(const std::string& role, const std::string& method, const std::map<std::string, std::string>& weights,
             const std::map<std::string, std::string>& sites) {
    const MethodSpec* spec = program_.find_method(method);
    if (spec == nullptr) return problem("there is no method '" + method + "' in " + program_.file);
    for (const InputSpec& input : spec->inputs) {
      if (input.source == InputSource::kWeight) check_weight(method, input, weights);
      if (input.source == InputSource::kAdapter) check_site(method, input, input.name, sites);
    }
    const StageContract contract = stage_contract(manifest_, program_.kind, role);
    check_contract(*spec, contract, where_, &problems_);
    if (contract.gradients) {
      for (const TensorSpec& output : spec->outputs) {
        if (is_gradient_name(output.name)) check_site(method, output, gradient_input(output.name), sites);
      }
    }
    for (const auto& [name, site] : sites) {
      if (contract.partial && !has_tensor(spec->inputs, name + ".weight")) continue;
      check_site_tensors(*spec, name, contract.gradients);
    }
  }

 private:
  /// A site that a method does not mention would be left out of training or inference without a word.
  void check_site_tensors(const MethodSpec& method, const std::string& site, bool gradients) {
    for (const char* part : {".lora_A", ".lora_B", ".lora_scale"}) {
      if (!has_tensor(method.inputs, site + part)) problem(method.name + " has no input '" + site + part + "'");
    }
    if (!gradients) return;
    for (const char* part : {".lora_A.grad", ".lora_B.grad"}) {
      if (!has_tensor(method.outputs, site + part)) problem(method.name + " has no output '" + site + part + "'");
    }
  }

  void problem(const std::string& what) { problems_.add(where_ + ": " + what); }

  void check_weight(const std::string& method, const InputSpec& input,
                    const std::map<std::string, std::string>& weights) {
    const auto bound = weights.find(input.name);
    if (bound == weights.end()) return problem("input '" + input.name + "' of " + method + " is bound to no weight");
    const BaseTensorSpec* tensor = manifest_.find_base_tensor(bound->second);
    if (tensor == nullptr) return problem("weight '" + bound->second + "' is not a tensor of the base");
    const std::string expected = std::string(dtype_name(input.dtype)) + " " + shape_text(input.shape);
    const std::string found = std::string(dtype_name(tensor->dtype)) + " " + sizes_text(tensor->shape);
    if (expected != found) {
      problem("weight '" + tensor->name + "': " + method + " expects " + expected + ", the base has " + found);
    }
  }

  /// @param tensor an adapter input, or the gradient of one. @param input_name the input's name.
  void check_site(const std::string& method, const TensorSpec& tensor, const std::string& input_name,
                  const std::map<std::string, std::string>& sites) {
    const AdapterInputName name = split_adapter_input(input_name);
    const bool is_input = tensor.name == input_name;
    const auto bound = sites.find(name.site);
    if (bound == sites.end()) return problem("'" + tensor.name + "' of " + method + " is bound to no adapter site");
    const int64_t index = manifest_.site_index(bound->second);
    if (index < 0) return problem("'" + bound->second + "' is not an adapter site");
    const AdapterSiteLayout& site = manifest_.adapter.sites[static_cast<size_t>(index)];
    const Dim rank{Dim::Kind::kRank, 0};
    std::vector<Dim> expected;
    if (name.part == "lora_A") {
      expected = {rank, {Dim::Kind::kFixed, site.in_features}};
    } else if (name.part == "lora_B") {
      expected = {{Dim::Kind::kFixed, site.out_features}, rank};
    } else if (name.part == "lora_scale" && is_input) {
      expected = {rank};
    } else {
      return problem("'" + tensor.name + "' of " + method + " is no lora_A, lora_B or lora_scale, nor a gradient");
    }
    if (!(tensor.shape == expected)) {
      problem("'" + tensor.name + "' of " + method + ": site '" + site.name + "' has " + shape_text(expected) +
              ", the method expects " + shape_text(tensor.shape));
    }
    if (tensor.dtype != DType::kFloat32) {
      problem("'" + tensor.name + "' of " + method + ": expected float32, found " + dtype_name(tensor.dtype));
    }
  }

  const Manifest& manifest_;
  const ProgramSpec& program_;
  std::string where_;
  ProblemList& problems_;
};

/// A block binds the adapter sites of its own layer, each once.
void check_block_sites(const Manifest& manifest, const BlockSpec& block, const std::string& where,
                       ProblemList* problems) {
  std::set<std::string> bound;
  for (const auto& [name, site] : block.sites) {
    const int64_t index = manifest.site_index(site);
    if (!bound.insert(site).second) problems->add(where + ".sites: '" + site + "' is bound twice");
    if (index < 0) {
      problems->add(where + ".sites: '" + site + "' is not an adapter site");
    } else if (manifest.adapter.sites[static_cast<size_t>(index)].layer != block.layer) {
      problems->add(where + ".sites: '" + site + "' belongs to another layer");
    }
  }
  for (const AdapterSiteLayout& site : manifest.adapter.sites) {
    if (site.layer == block.layer && bound.count(site.name) == 0) {
      problems->add(where + ".sites: adapter site '" + site.name + "' is not bound");
    }
  }
}

/// The products that a method puts out or is given, by name.
template <typename T>
std::map<std::string, std::vector<Dim>> products_of(const std::vector<T>& tensors) {
  std::map<std::string, std::vector<Dim>> products;
  for (const T& tensor : tensors) {
    if (is_kept_name(tensor.name)) products.emplace(tensor.name, tensor.shape);
  }
  return products;
}

/// What one method keeps is what the other one reads.
void check_kept(const MethodSpec* keep, const MethodSpec* kept, const std::string& where, ProblemList* problems) {
  if (keep == nullptr || kept == nullptr || products_of(keep->outputs) == products_of(kept->inputs)) return;
  problems->add(where + ": the products that " + kept->name + " reads are not those that " + keep->name + " keeps");
}

void check_block(const BlockSpec& block, bool train, const std::string& where, StageChecker checker,
                 ProblemList* problems) {
  std::vector<std::string> roles = {train ? "forward" : "prefill", train ? "backward" : "decode"};
  if (train && block.methods.count("forward_keep") + block.methods.count("backward_kept") > 0) {
    roles.insert(roles.end(), {"forward_keep", "backward_kept"});
  }
  if (!train && block.methods.count("keys") > 0) roles.push_back("keys");
  for (const auto& [role, method] : block.methods) {
    if (std::find(roles.begin(), roles.end(), role) != roles.end()) continue;
    problems->add(where + ".methods." + role + ": is not a known role");
  }
  for (const std::string& role : roles) {
    const auto method = block.methods.find(role);
    if (method == block.methods.end()) {
      problems->add(where + ".methods." + role + ": missing");
    } else {
      checker.check(role, method->second, block.weights, block.sites);
    }
  }
}

void check_stage_set(const Manifest& manifest, const StageSet& set, ProblemList* problems) {
  const std::string where = "stages(" + set.backend + ", " + set.kind + ")";
  const ProgramSpec* program = manifest.find_program(set.backend, set.kind);
  if (program == nullptr) return problems->add(where + ": there is no such program");
  if (set.kind != "train" && set.kind != "infer") return;  // a newer toolchain's; this runtime never calls it
  if (!program->constants.empty()) return;                 // weights inside, sizes fixed: never called either
  const std::map<std::string, std::string> none;
  StageChecker(manifest, *program, where + ".embed", problems)
      .check("embed", set.embed.method, set.embed.weights, none);
  StageChecker(manifest, *program, where + ".head", problems).check("head", set.head.method, set.head.weights, none);
  if (static_cast<int64_t>(set.blocks.size()) != manifest.model.num_layers) {
    problems->addf("%s.blocks: expected %lld layers, found %zu", where.c_str(),
                   static_cast<long long>(manifest.model.num_layers), set.blocks.size());
  }
  for (size_t i = 0; i < set.blocks.size(); ++i) {
    const std::string at = where + ".blocks[" + std::to_string(i) + "]";
    if (set.blocks[i].layer != static_cast<int64_t>(i)) problems->add(at + ": layers must be listed in order");
    check_block_sites(manifest, set.blocks[i], at, problems);
    check_block(set.blocks[i], set.kind == "train", at, StageChecker(manifest, *program, at, problems), problems);
    const std::map<std::string, std::string>& methods = set.blocks[i].methods;
    if (methods.count("forward_keep") + methods.count("backward_kept") < 2) continue;
    check_kept(program->find_method(methods.at("forward_keep")), program->find_method(methods.at("backward_kept")), at,
               problems);
  }
}

void check_memory_rows(const ProgramSpec& program, const Limits& limits, ProblemList* problems) {
  if (program.kind != "train" && program.kind != "infer") return;  // a newer toolchain's
  const std::vector<MemoryRow>& table = program.memory_rows;
  const std::string where = "programs(" + program.backend + ", " + program.kind + ").memory_rows";
  for (size_t i = 1; i < table.size(); ++i) {
    if (table[i].rows > table[i - 1].rows) continue;
    problems->addf("%s[%zu]: rows is %lld after %lld, the table must ascend", where.c_str(), i,
                   static_cast<long long>(table[i].rows), static_cast<long long>(table[i - 1].rows));
  }
  const int64_t largest = program.kind == "train" ? limits.train_t_max : limits.prefill_t_max;
  const int64_t last = table.empty() ? 0 : table.back().rows;
  if (last == largest) return;
  problems->addf("%s ends at %lld rows, it must end at the limit of %lld", where.c_str(), static_cast<long long>(last),
                 static_cast<long long>(largest));
}

}  // namespace

AdapterInputName split_adapter_input(const std::string& name) {
  const size_t dot = name.rfind('.');
  if (dot == std::string::npos) return {"", name};
  return {name.substr(0, dot), name.substr(dot + 1)};
}

bool is_gradient_name(std::string_view name) { return ends_with(name, kGradient); }

bool is_kept_name(std::string_view name) { return ends_with(name, kKept); }

std::string gradient_input(std::string_view name) {
  return std::string(name.substr(0, name.size() - kGradient.size()));
}

void check_references(const Manifest& manifest, ProblemList* problems) {
  if (!problems->empty()) return;  // names that were not read would only repeat themselves
  if (!lists_file(manifest, manifest.base_file))
    problems->add("base.file: '" + manifest.base_file + "' is not in files");
  for (const ProgramSpec& program : manifest.programs) {
    if (!lists_file(manifest, program.file)) problems->add("programs: '" + program.file + "' is not in files");
    if (!program.constants.empty() && !lists_file(manifest, program.constants)) {
      problems->add("programs: '" + program.constants + "' is not in files");
    }
    if (manifest.find_stages(program.backend, program.kind) == nullptr) {
      problems->add("programs: '" + program.file + "' has no stages");
    }
  }
  for (const StageSet& set : manifest.stages) check_stage_set(manifest, set, problems);
  for (const ProgramSpec& program : manifest.programs) check_memory_rows(program, manifest.limits, problems);
}

}  // namespace pocketlora
