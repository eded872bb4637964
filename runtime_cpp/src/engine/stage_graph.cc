#include "engine/stage_graph.h"

#include <algorithm>
#include <numeric>
#include <utility>

namespace pocketlora {
namespace {

template <typename T>
const T* find_tensor(const std::vector<T>& tensors, const std::string& name) {
  const auto it =
      std::find_if(tensors.begin(), tensors.end(), [&name](const T& tensor) { return tensor.name == name; });
  return it == tensors.end() ? nullptr : &*it;
}

}  // namespace

Result<std::unique_ptr<StageGraph>> StageGraph::open(const Bundle& bundle, const std::string& backend,
                                                     const std::string& kind, MemoryAccount* account) {
  const Manifest& manifest = bundle.manifest();
  const ProgramSpec* program = manifest.find_program(backend, kind);
  const StageSet* set = manifest.find_stages(backend, kind);
  if (program == nullptr || set == nullptr) {
    return error(PL_BACKEND_MISSING, "bundle '%s' has no %s program for backend '%s'", bundle.dir().c_str(),
                 kind.c_str(), backend.c_str());
  }
  std::unique_ptr<StageGraph> graph(new StageGraph(bundle));
  graph->program_spec_ = program;
  graph->set_ = set;
  PL_ASSIGN_OR_RETURN(graph->program_, LoadedProgram::open(bundle.path(program->file), *program, account));
  PL_ASSIGN_OR_RETURN(graph->embed_, graph->make_call(set->embed.method, set->embed.weights, {}));
  PL_ASSIGN_OR_RETURN(graph->head_, graph->make_call(set->head.method, set->head.weights, {}));
  for (const BlockSpec& block : set->blocks) {
    auto& calls = graph->blocks_.emplace_back();
    graph->windows_.push_back(block.window);
    for (const auto& [role, method] : block.methods) {
      PL_ASSIGN_OR_RETURN(calls[role], graph->make_call(method, block.weights, block.sites));
    }
    auto& kept = graph->kept_.emplace_back();
    const auto keep = calls.find("forward_keep");
    if (keep == calls.end()) continue;
    for (const TensorSpec& output : keep->second.spec->outputs) {
      if (is_kept_name(output.name)) kept.push_back(output);
    }
  }
  WeightStream::prefer_huge_pages(bundle.base(), manifest, *set);
  return graph;
}

std::vector<int64_t> StageGraph::kept_columns() const {
  std::vector<int64_t> columns;
  for (const std::vector<TensorSpec>& products : kept_) {
    if (products.empty()) return {};
    const auto add = [](int64_t sum, const TensorSpec& product) { return sum + product.shape.back().size; };
    columns.push_back(std::accumulate(products.begin(), products.end(), int64_t{0}, add));
  }
  return columns;
}

void StageGraph::stream_weights() {
  if (stream_ == nullptr) stream_ = std::make_unique<WeightStream>(bundle_.base(), bundle_.manifest(), *set_);
}

Status StageGraph::load_all() {
  const std::lock_guard<std::mutex> lock(program_->mutex());
  for (const MethodSpec& method : program_spec_->methods) PL_RETURN_IF_ERROR(program_->stage(method.name).status());
  return Status();
}

Result<StageGraph::Slot> StageGraph::site_slot(const std::string& name,
                                               const std::map<std::string, std::string>& sites) const {
  const AdapterInputName parts = split_adapter_input(name);
  const auto site = sites.find(parts.site);
  const int64_t index = site == sites.end() ? -1 : bundle_.manifest().site_index(site->second);
  if (index < 0) return error(PL_BUNDLE_MISMATCH, "'%s' belongs to no adapter site", name.c_str());
  Slot slot;
  slot.site = static_cast<size_t>(index);
  slot.source = parts.part == "lora_A" ? Source::kSiteA : parts.part == "lora_B" ? Source::kSiteB : Source::kSiteScale;
  return slot;
}

Result<StageGraph::Call> StageGraph::make_call(const std::string& method,
                                               const std::map<std::string, std::string>& weights,
                                               const std::map<std::string, std::string>& sites) const {
  Call call;
  call.spec = program_spec_->find_method(method);
  if (call.spec == nullptr) return error(PL_BUNDLE_MISMATCH, "there is no method '%s'", method.c_str());
  for (const InputSpec& input : call.spec->inputs) {
    Slot slot;
    if (input.source == InputSource::kWeight) {
      slot.source = Source::kWeight;
      const auto weight = weights.find(input.name);
      if (weight != weights.end()) slot.weight = bundle_.base().find(weight->second);
      if (slot.weight == nullptr) {
        return error(PL_BUNDLE_MISMATCH, "method %s: input '%s' is bound to no weight", method.c_str(),
                     input.name.c_str());
      }
    } else if (input.source == InputSource::kAdapter) {
      PL_ASSIGN_OR_RETURN(slot, site_slot(input.name, sites));
    }
    call.inputs.push_back(slot);
  }
  for (const TensorSpec& output : call.spec->outputs) {
    Slot slot;
    if (is_gradient_name(output.name)) {
      PL_ASSIGN_OR_RETURN(slot, site_slot(gradient_input(output.name), sites));
    }
    call.outputs.push_back(slot);
  }
  return call;
}

Status StageGraph::bind_input(Stage* stage, size_t index, const Slot& slot, const Extents& extents,
                              const SiteBindings& sites, const std::vector<InputTensor>& inputs) const {
  if (slot.source == Source::kWeight) return stage->set_input(index, slot.weight, extents);
  if (slot.source == Source::kCaller) {
    const InputTensor* tensor = find_tensor(inputs, stage->spec().inputs[index].name);
    return tensor == nullptr ? Status() : stage->set_input(index, tensor->data, extents);
  }
  const AdapterSiteView& view = sites.views[slot.site];
  const float* data = slot.source == Source::kSiteA ? view.a : slot.source == Source::kSiteB ? view.b : view.scale;
  return stage->set_input(index, data, extents.with_rank(view.rank));
}

Status StageGraph::bind_output(Stage* stage, size_t index, const Slot& slot, const Extents& extents,
                               const SiteBindings& sites, const std::vector<OutputTensor>& outputs) const {
  if (slot.source == Source::kCaller) {
    const OutputTensor* tensor = find_tensor(outputs, stage->spec().outputs[index].name);
    return tensor == nullptr ? Status() : stage->set_output(index, tensor->data, tensor->bytes, extents);
  }
  const AdapterSite& gradient = sites.gradients[slot.site];
  const AdapterSiteLayout& layout = bundle_.manifest().adapter.sites[slot.site];
  const bool is_a = slot.source == Source::kSiteA;
  const int64_t features = is_a ? layout.in_features : layout.out_features;
  const size_t bytes = static_cast<size_t>(gradient.rank * features) * sizeof(float);
  return stage->set_output(index, is_a ? gradient.a : gradient.b, bytes, extents.with_rank(gradient.rank));
}

Status StageGraph::run(const Call& call, const Extents& extents, const SiteBindings& sites,
                       const std::vector<InputTensor>& inputs, const std::vector<OutputTensor>& outputs) {
  const std::lock_guard<std::mutex> lock(program_->mutex());
  PL_ASSIGN_OR_RETURN(Stage * stage, program_->stage(call.spec->name));
  for (size_t i = 0; i < call.inputs.size(); ++i) {
    PL_RETURN_IF_ERROR(bind_input(stage, i, call.inputs[i], extents, sites, inputs));
  }
  for (size_t i = 0; i < call.outputs.size(); ++i) {
    PL_RETURN_IF_ERROR(bind_output(stage, i, call.outputs[i], extents, sites, outputs));
  }
  return stage->execute();
}

Status StageGraph::run_embed(const Extents& extents, const std::vector<InputTensor>& inputs,
                             const std::vector<OutputTensor>& outputs) {
  if (stream_ != nullptr) stream_->before_embed();
  const Status status = run(embed_, extents, {}, inputs, outputs);
  if (stream_ != nullptr) stream_->after_embed();
  return status;
}

Status StageGraph::run_block(int64_t layer, const std::string& role, const Extents& extents, const SiteBindings& sites,
                             const std::vector<InputTensor>& inputs, const std::vector<OutputTensor>& outputs) {
  const auto& calls = blocks_[static_cast<size_t>(layer)];
  const auto call = calls.find(role);
  if (call == calls.end()) {
    return error(PL_BUNDLE_MISMATCH, "layer %lld has no method for '%s'", static_cast<long long>(layer), role.c_str());
  }
  if (stream_ == nullptr) return run(call->second, extents, sites, inputs, outputs);
  const bool down = role == "backward" || role == "backward_kept";
  const auto walk = down ? WeightStream::Walk::kDown : WeightStream::Walk::kUp;
  stream_->before_block(layer, walk);
  const Status status = run(call->second, extents, sites, inputs, outputs);
  // The layer's last row follows its keys.
  if (role != "keys") stream_->after_block(layer, walk, calls.count("backward") > 0);
  return status;
}

Status StageGraph::run_head(const Extents& extents, const std::vector<InputTensor>& inputs,
                            const std::vector<OutputTensor>& outputs) {
  const Status status = run(head_, extents, {}, inputs, outputs);
  if (stream_ != nullptr) stream_->after_head();
  return status;
}

}  // namespace pocketlora
