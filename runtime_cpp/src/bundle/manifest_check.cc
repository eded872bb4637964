#include <algorithm>

#include "bundle/manifest.h"
#include "common/result.h"

namespace pocketlora {
namespace {

bool lists_file(const Manifest& manifest, const std::string& path) {
  return std::any_of(manifest.files.begin(), manifest.files.end(),
                     [&path](const FileSpec& file) { return file.path == path; });
}

std::string sizes_text(const std::vector<int64_t>& sizes) {
  std::vector<Dim> dims;
  for (const int64_t size : sizes) dims.push_back({Dim::Kind::kFixed, size});
  return shape_text(dims);
}

/// Checks one method as one stage calls it.
class StageChecker {
 public:
  StageChecker(const Manifest& manifest, const ProgramSpec& program, std::string where, ProblemList* problems)
      : manifest_(manifest), program_(program), where_(std::move(where)), problems_(*problems) {}

  void check(const std::string& method, const std::map<std::string, std::string>& weights,
             const std::map<std::string, std::string>& sites) {
    const MethodSpec* spec = program_.find_method(method);
    if (spec == nullptr) return problem("there is no method '" + method + "' in " + program_.file);
    for (const InputSpec& input : spec->inputs) {
      if (input.source == InputSource::kWeight) check_weight(method, input, weights);
      if (input.source == InputSource::kAdapter) check_site(method, input, sites);
    }
  }

 private:
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

  void check_site(const std::string& method, const InputSpec& input, const std::map<std::string, std::string>& sites) {
    const AdapterInputName name = split_adapter_input(input.name);
    const auto bound = sites.find(name.site);
    if (bound == sites.end())
      return problem("input '" + input.name + "' of " + method + " is bound to no adapter site");
    const int64_t index = manifest_.site_index(bound->second);
    if (index < 0) return problem("'" + bound->second + "' is not an adapter site");
    const AdapterSiteLayout& site = manifest_.adapter.sites[static_cast<size_t>(index)];
    const Dim rank{Dim::Kind::kRank, 0};
    std::vector<Dim> expected;
    if (name.part == "lora_A") {
      expected = {rank, {Dim::Kind::kFixed, site.in_features}};
    } else if (name.part == "lora_B") {
      expected = {{Dim::Kind::kFixed, site.out_features}, rank};
    } else if (name.part == "lora_scale") {
      expected = {rank};
    } else {
      return problem("adapter input '" + input.name + "' of " + method + " is not a lora_A, lora_B or lora_scale");
    }
    if (!(input.shape == expected)) {
      problem("input '" + input.name + "' of " + method + ": site '" + site.name + "' has " + shape_text(expected) +
              ", the method expects " + shape_text(input.shape));
    }
  }

  const Manifest& manifest_;
  const ProgramSpec& program_;
  std::string where_;
  ProblemList& problems_;
};

void check_block(const BlockSpec& block, bool train, const std::string& where, StageChecker checker,
                 ProblemList* problems) {
  for (const char* role : {train ? "forward" : "prefill", train ? "backward" : "decode"}) {
    const auto method = block.methods.find(role);
    if (method == block.methods.end()) {
      problems->add(where + ".methods." + role + ": missing");
    } else {
      checker.check(method->second, block.weights, block.sites);
    }
  }
}

void check_embed(const ProgramSpec& program, const StageSet& set, const std::string& where, ProblemList* problems) {
  const MethodSpec* embed = program.find_method(set.embed.method);
  if (set.kind != "infer" || embed == nullptr || embed->t_min == 1) return;
  problems->addf("%s.embed: '%s' must take a single row, its t_min is %lld", where.c_str(), embed->name.c_str(),
                 static_cast<long long>(embed->t_min));
}

void check_stage_set(const Manifest& manifest, const StageSet& set, ProblemList* problems) {
  const std::string where = "stages(" + set.backend + ", " + set.kind + ")";
  const ProgramSpec* program = manifest.find_program(set.backend, set.kind);
  if (program == nullptr) return problems->add(where + ": there is no such program");
  const std::map<std::string, std::string> none;
  StageChecker(manifest, *program, where + ".embed", problems).check(set.embed.method, set.embed.weights, none);
  StageChecker(manifest, *program, where + ".head", problems).check(set.head.method, set.head.weights, none);
  check_embed(*program, set, where, problems);
  if (static_cast<int64_t>(set.blocks.size()) != manifest.model.num_layers) {
    problems->addf("%s.blocks: expected %lld layers, found %zu", where.c_str(),
                   static_cast<long long>(manifest.model.num_layers), set.blocks.size());
  }
  for (size_t i = 0; i < set.blocks.size(); ++i) {
    const std::string at = where + ".blocks[" + std::to_string(i) + "]";
    if (set.blocks[i].layer != static_cast<int64_t>(i)) problems->add(at + ": layers must be listed in order");
    check_block(set.blocks[i], set.kind == "train", at, StageChecker(manifest, *program, at, problems), problems);
  }
}

}  // namespace

AdapterInputName split_adapter_input(const std::string& name) {
  const size_t dot = name.rfind('.');
  if (dot == std::string::npos) return {"", name};
  return {name.substr(0, dot), name.substr(dot + 1)};
}

void check_references(const Manifest& manifest, ProblemList* problems) {
  if (!problems->empty()) return;  // names that were not read would only repeat themselves
  if (!lists_file(manifest, manifest.base_file))
    problems->add("base.file: '" + manifest.base_file + "' is not in files");
  for (const ProgramSpec& program : manifest.programs) {
    if (!lists_file(manifest, program.file)) problems->add("programs: '" + program.file + "' is not in files");
    if (manifest.find_stages(program.backend, program.kind) == nullptr) {
      problems->add("programs: '" + program.file + "' has no stages");
    }
  }
  for (const StageSet& set : manifest.stages) check_stage_set(manifest, set, problems);
}

}  // namespace pocketlora
