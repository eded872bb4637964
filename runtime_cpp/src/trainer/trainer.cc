#include "trainer/trainer.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <utility>

#include "adapters/adapter_set.h"
#include "bundle/checked_size.h"
#include "common/splitmix64.h"
#include "kernels/optim/optim.h"

namespace pocketlora {
namespace {

using Clock = std::chrono::steady_clock;

Status check_options(const TrainerOptions& options) {
  if (options.dropout >= 0.0F && options.dropout < 1.0F) return Status();
  return error(PL_INVALID_ARGUMENT, "dropout: expected at least 0 and less than 1, found %g",
               static_cast<double>(options.dropout));
}

/// 0.1F as 0.1, not as 0.10000000149011612: what the caller wrote is what adapter_config.json says.
double shortest_double(float value) {
  char text[32] = {};
  std::to_chars(text, text + sizeof(text) - 1, value);
  return std::strtod(text, nullptr);
}

std::string batch_name(size_t index) { return "micro-batch " + std::to_string(index); }

}  // namespace

Result<std::unique_ptr<Trainer>> Trainer::create(std::shared_ptr<Engine> engine, const TrainerOptions& options,
                                                 const Adapter::Pointer& init) {
  PL_RETURN_IF_ERROR(check_options(options));
  Adapter::Pointer start = init;
  if (start == nullptr) {
    PL_ASSIGN_OR_RETURN(
        start, Adapter::create(engine->layout(), options.rank, options.alpha, options.target_modules, options.seed));
  } else {  // another engine's adapter will do when its bundle has the same base and sites
    PL_RETURN_IF_ERROR(AdapterSet::combine(engine->layout(), {{start, 1.0F}}).status());
  }
  PL_ASSIGN_OR_RETURN(AdapterTensors tensors, start->clone_tensors());
  PL_ASSIGN_OR_RETURN(AdapterTensors gradients,
                      AdapterTensors::allocate(*engine->layout(), start->config().site_ranks));
  std::unique_ptr<Trainer> trainer(
      new Trainer(std::move(engine), options, std::move(start), std::move(tensors), std::move(gradients)));
  PL_RETURN_IF_ERROR(trainer->prepare(options));
  return trainer;
}

Trainer::Trainer(std::shared_ptr<Engine> engine, const TrainerOptions& options, Adapter::Pointer start,
                 AdapterTensors tensors, AdapterTensors gradients)
    : engine_(std::move(engine)),
      start_(std::move(start)),
      tensors_(std::move(tensors)),
      gradients_(std::move(gradients)),
      dropout_(options.dropout),
      seed_(options.seed) {
  for (const AdapterSite& site : tensors_.sites()) views_.push_back({site.rank, site.a, site.b, site.scale});
}

Status Trainer::prepare(const TrainerOptions& options) {
  PL_ASSIGN_OR_RETURN(graph_, engine_->train_graph());
  PL_ASSIGN_OR_RETURN(optimizer_, make_optimizer(options.optimizer, options.settings, {tensors_.parameters().size()}));
  PL_RETURN_IF_ERROR(allocate_activations());
  PL_RETURN_IF_ERROR(allocate_layer_gradients());
  MemoryAccount* account = &engine_->account();
  charges_.emplace_back(account, MemoryPart::kAdapter, tensors_.nbytes());
  charges_.emplace_back(account, MemoryPart::kGradients, gradients_.nbytes());
  charges_.emplace_back(account, MemoryPart::kOptimizer, optimizer_->nbytes());
  return Status();
}

Status Trainer::allocate_activations() {
  const Manifest& manifest = engine_->manifest();
  MemoryAccount* account = &engine_->account();
  const int64_t rows = manifest.limits.train_t_max;
  const int64_t states = manifest.model.num_layers + 1;
  PL_ASSIGN_OR_RETURN(const size_t hidden, bytes_of({rows, manifest.model.hidden_size, sizeof(float)}));
  PL_ASSIGN_OR_RETURN(const size_t all_hidden, bytes_of({states, rows, manifest.model.hidden_size, sizeof(float)}));
  PL_ASSIGN_OR_RETURN(const size_t rope, bytes_of({rows, manifest.model.head_dim, sizeof(float)}));
  PL_ASSIGN_OR_RETURN(block_inputs_, ReservedBuffer::reserve(all_hidden, account, MemoryPart::kBlockInputs));
  PL_ASSIGN_OR_RETURN(grad_hidden_, ReservedBuffer::reserve(hidden, account, MemoryPart::kScratch));
  PL_ASSIGN_OR_RETURN(rope_, ReservedBuffer::reserve(rope, account, MemoryPart::kScratch));
  return Status();
}

Status Trainer::allocate_layer_gradients() {
  const AdapterLayout& layout = *engine_->layout();
  sites_of_layer_.resize(static_cast<size_t>(engine_->manifest().model.num_layers));
  for (size_t s = 0; s < layout.sites.size(); ++s) {
    sites_of_layer_[static_cast<size_t>(layout.sites[s].layer)].push_back(s);
  }
  const auto elements = [&](size_t s) {  // of tensors that are allocated, so that it cannot wrap
    const int64_t rank = tensors_.sites()[s].rank;
    return rank * (layout.sites[s].in_features + layout.sites[s].out_features);
  };
  int64_t largest = 0;
  for (const auto& sites : sites_of_layer_) {
    int64_t total = 0;
    for (const size_t s : sites) total += elements(s);
    largest = std::max(largest, total);
  }
  PL_ASSIGN_OR_RETURN(const size_t bytes, bytes_of({largest, sizeof(float)}));
  PL_ASSIGN_OR_RETURN(layer_gradients_, ReservedBuffer::reserve(bytes, &engine_->account(), MemoryPart::kGradients));
  layer_sites_.resize(layout.sites.size());
  for (const auto& sites : sites_of_layer_) {
    float* next = layer_gradients_.as<float>();
    for (const size_t s : sites) {
      const int64_t rank = tensors_.sites()[s].rank;
      layer_sites_[s] = {rank, next, next + rank * layout.sites[s].in_features, nullptr};
      next += elements(s);
    }
  }
  return Status();
}

Status Trainer::set_learning_rate(float learning_rate) {
  if (!std::isfinite(learning_rate) || learning_rate < 0.0F) {
    return error(PL_INVALID_ARGUMENT, "learning_rate: expected 0 or more, found %g",
                 static_cast<double>(learning_rate));
  }
  optimizer_->set_learning_rate(learning_rate);
  return Status();
}

float* Trainer::block_input(int64_t layer, int64_t rows) const {
  return block_inputs_.as<float>() + layer * rows * engine_->manifest().model.hidden_size;
}

Result<double> Trainer::run_micro_batch(const BatchView& batch, float weight, size_t index) {
  const auto rows_count = static_cast<int64_t>(batch.tokens.size());
  const PackedRows rows = pack_for_loss(batch, weight);
  LossPass pass;
  pass.graph = graph_;
  pass.model = &engine_->manifest().model;
  pass.batch = &batch;
  pass.rows = &rows;
  pass.sites = {views_, {}};
  pass.dropout.probability = dropout_;
  pass.dropout.seed = SplitMix64(seed_ ^ (static_cast<uint64_t>(optimizer_->steps()) << 20) ^ index).next();
  pass.rope = rope_.as<float>();
  pass.hidden = [this, rows_count](int64_t layer) { return block_input(layer, rows_count); };
  pass.grad_hidden = grad_hidden_.as<float>();
  PL_ASSIGN_OR_RETURN(const LossPass::Output output, pass.run());
  double loss = 0.0;
  for (size_t i = 0; i < output.logprobs.size(); ++i) {
    loss -= static_cast<double>(output.logprobs[i]) * static_cast<double>(rows.weights[i]);
  }
  if (!std::isfinite(loss) || !std::isfinite(output.loss)) {
    return error(PL_BACKEND_EXECUTION, "step %lld, %s: the loss is not finite; the adapter is unchanged",
                 static_cast<long long>(optimizer_->steps() + 1), batch_name(index).c_str());
  }
  PL_RETURN_IF_ERROR(run_backward(pass, index == 0));
  return loss;
}

Status Trainer::run_backward(const LossPass& pass, bool first) {
  const Extents dims = pass.extents();
  const size_t bytes = pass.hidden_bytes();
  // The last block's output has served its purpose once the head has run: its place is the second gradient buffer.
  float* incoming = pass.grad_hidden;
  float* outgoing = pass.hidden(graph_->num_layers());
  const SiteBindings sites = {views_, first ? Span<const AdapterSite>(gradients_.sites()) : layer_sites_};
  for (int64_t layer = graph_->num_layers() - 1; layer >= 0; --layer) {
    int64_t seed = 0;
    std::vector<InputTensor> inputs = {{"hidden", pass.hidden(layer)}, {"grad_hidden", incoming}, {"rope", pass.rope}};
    pass.add_block_inputs(layer, &seed, &inputs);
    PL_RETURN_IF_ERROR(graph_->run_block(layer, "backward", dims, sites, inputs, {{"grad_hidden", outgoing, bytes}}));
    if (!first) accumulate(layer);
    std::swap(incoming, outgoing);
  }
  return Status();
}

void Trainer::accumulate(int64_t layer) {
  const AdapterLayout& layout = *engine_->layout();
  const auto add = [](float* to, const float* from, int64_t count) {
    for (int64_t i = 0; i < count; ++i) to[i] += from[i];
  };
  for (const size_t s : sites_of_layer_[static_cast<size_t>(layer)]) {
    const AdapterSite& to = gradients_.sites()[s];
    add(to.a, layer_sites_[s].a, to.rank * layout.sites[s].in_features);
    add(to.b, layer_sites_[s].b, to.rank * layout.sites[s].out_features);
  }
}

double Trainer::gradient_norm() const {
  const Span<const float> values = gradients_.parameters();
  return std::sqrt(squared_norm(values.data(), static_cast<int64_t>(values.size())));
}

Result<StepReport> Trainer::forward_backward(const std::vector<BatchView>& micro_batches) {
  const Clock::time_point start = Clock::now();
  StepReport report;
  report.step = optimizer_->steps();
  for (size_t i = 0; i < micro_batches.size(); ++i) {
    PL_RETURN_IF_ERROR(check_batch(micro_batches[i], engine_->manifest(), batch_name(i)));
    report.num_tokens += static_cast<int64_t>(micro_batches[i].tokens.size());
    report.num_labels += count_labels(micro_batches[i]);
  }
  if (report.num_labels == 0) {
    return error(PL_INVALID_ARGUMENT, "step %lld: no token of its %zu micro-batches has a label",
                 static_cast<long long>(report.step + 1), micro_batches.size());
  }
  has_gradients_ = false;
  const float weight = 1.0F / static_cast<float>(report.num_labels);
  for (size_t i = 0; i < micro_batches.size(); ++i) {
    PL_ASSIGN_OR_RETURN(const double loss, run_micro_batch(micro_batches[i], weight, i));
    report.loss += loss;
  }
  report.grad_norm = gradient_norm();
  if (!std::isfinite(report.grad_norm)) {
    return error(PL_BACKEND_EXECUTION, "step %lld: the gradient is not finite; the adapter is unchanged",
                 static_cast<long long>(report.step + 1));
  }
  has_gradients_ = true;
  report.seconds = std::chrono::duration<double>(Clock::now() - start).count();
  return report;
}

Result<StepReport> Trainer::step(const std::vector<BatchView>& micro_batches) {
  const Clock::time_point start = Clock::now();
  PL_ASSIGN_OR_RETURN(StepReport report, forward_backward(micro_batches));
  PL_RETURN_IF_ERROR(optimizer_->step({{tensors_.parameters(), std::as_const(gradients_).parameters()}}));
  report.step = optimizer_->steps();
  report.seconds = std::chrono::duration<double>(Clock::now() - start).count();
  return report;
}

Status Trainer::get_gradient(const std::string& name, Span<float> out) const {
  if (!has_gradients_) return error(PL_INVALID_STATE, "there are no gradients: no step has been computed");
  const AdapterLayout& layout = *engine_->layout();
  for (size_t s = 0; s < layout.sites.size(); ++s) {
    const AdapterSite& site = gradients_.sites()[s];
    for (const char matrix : {'A', 'B'}) {
      if (site.rank == 0 || name != peft_tensor_name(layout.sites[s].name, matrix)) continue;
      const int64_t features = matrix == 'A' ? layout.sites[s].in_features : layout.sites[s].out_features;
      const auto count = static_cast<size_t>(site.rank * features);
      if (out.size() != count) {
        return error(PL_INVALID_ARGUMENT, "gradient '%s' has %zu elements, the buffer has %zu", name.c_str(), count,
                     out.size());
      }
      std::copy_n(matrix == 'A' ? site.a : site.b, count, out.data());
      return Status();
    }
  }
  return error(PL_INVALID_ARGUMENT, "the adapter has no tensor '%s'", name.c_str());
}

Result<Adapter::Pointer> Trainer::adapter() const {
  PL_ASSIGN_OR_RETURN(AdapterTensors copy, AdapterTensors::allocate(*engine_->layout(), start_->config().site_ranks));
  copy.copy_from(tensors_);
  AdapterConfig config = start_->config();
  config.dropout = shortest_double(dropout_);
  return Adapter::from_tensors(engine_->layout(), std::move(config), std::move(copy));
}

}  // namespace pocketlora
