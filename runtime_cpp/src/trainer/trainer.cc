#include "trainer/trainer.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <iterator>
#include <limits>
#include <utility>

#include "adapters/adapter_set.h"
#include "bundle/checked_size.h"
#include "common/splitmix64.h"
#include "engine/charged_adapter.h"
#include "kernels/optim/optim.h"
#include "trainer/pass_memory.h"

namespace pocketlora {
namespace {

using Clock = std::chrono::steady_clock;

Status check_options(const TrainerOptions& options) {
  ProblemList problems;
  if (!(options.dropout >= 0.0F && options.dropout < 1.0F)) {
    problems.addf("dropout: expected at least 0 and less than 1, found %g", static_cast<double>(options.dropout));
  }
  if (options.activations < PL_ACTIVATIONS_AUTO || options.activations > PL_ACTIVATIONS_BF16) {
    problems.addf("activations: expected a pl_activations, found %d", static_cast<int>(options.activations));
  }
  if (!(std::isfinite(options.max_grad_norm) && options.max_grad_norm >= 0.0F)) {
    problems.addf("max_grad_norm: expected a finite number, at least 0, found %g",
                  static_cast<double>(options.max_grad_norm));
  }
  if (options.max_skipped_steps < 0) {
    problems.addf("max_skipped_steps: expected 0 or more, found %lld",
                  static_cast<long long>(options.max_skipped_steps));
  }
  if (options.validation.patience < 0) {
    problems.addf("patience: expected 0 or more, found %lld", static_cast<long long>(options.validation.patience));
  }
  if (!(std::isfinite(options.validation.min_delta) && options.validation.min_delta >= 0.0)) {
    problems.addf("min_delta: expected a finite number, at least 0, found %g", options.validation.min_delta);
  }
  PL_RETURN_IF_ERROR(problems.to_status(PL_INVALID_ARGUMENT, "trainer options:"));
  return options.schedule.check();
}

/// 0.1F as 0.1, not as 0.10000000149011612: what the caller wrote is what adapter_config.json says.
double shortest_double(float value) {
  char text[32] = {};
  std::to_chars(text, text + sizeof(text) - 1, value);
  return std::strtod(text, nullptr);
}

std::optional<FloatFormat> float_format(pl_activations activations) {
  switch (activations) {
    case PL_ACTIVATIONS_FP32:
      return FloatFormat::kFloat32;
    case PL_ACTIVATIONS_FP16:
      return FloatFormat::kFloat16;
    case PL_ACTIVATIONS_BF16:
      return FloatFormat::kBfloat16;
    case PL_ACTIVATIONS_AUTO:
      break;
  }
  return std::nullopt;
}

/// A and B of every used site.
std::vector<MatrixShape> matrix_shapes(const AdapterLayout& layout, const AdapterTensors& tensors) {
  std::vector<MatrixShape> shapes;
  for (size_t s = 0; s < layout.sites.size(); ++s) {
    const int64_t rank = tensors.sites()[s].rank;
    if (rank == 0) continue;
    shapes.push_back({rank, layout.sites[s].in_features});
    shapes.push_back({layout.sites[s].out_features, rank});
  }
  return shapes;
}

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

Status not_finite(int64_t step, const StepReport& report) {
  return error(PL_BACKEND_EXECUTION, "step %lld: %s is not finite; the adapter is unchanged",
               static_cast<long long>(step), std::isfinite(report.loss) ? "the gradient" : "the loss");
}

std::string batch_name(size_t index) { return "micro-batch " + std::to_string(index); }

}  // namespace

Trainer::Trainer(std::shared_ptr<Engine> engine, const TrainerOptions& options)
    : engine_(std::move(engine)), options_(options), best_(options.validation) {
  state_.learning_rate = options.settings.learning_rate;
  Progress start;
  start.total_steps = options.schedule.total_steps;
  control_.set(start);
}

Result<std::unique_ptr<Trainer>> Trainer::create(std::shared_ptr<Engine> engine, const TrainerOptions& options,
                                                 const Adapter::Pointer& init) {
  PL_RETURN_IF_ERROR(check_options(options));
  std::shared_ptr<Adapter> adapter;
  if (init == nullptr) {
    PL_ASSIGN_OR_RETURN(
        adapter, Adapter::create(engine->layout(), options.rank, options.alpha, options.target_modules, options.seed));
  } else {  // another engine's adapter will do when its bundle has the same base and sites
    PL_RETURN_IF_ERROR(AdapterSet::combine(engine->layout(), {{init, 1.0F}}).status());
    PL_ASSIGN_OR_RETURN(AdapterTensors tensors, init->clone_tensors());
    adapter = Adapter::from_tensors(engine->layout(), init->config(), std::move(tensors));
  }
  adapter->set_dropout(shortest_double(options.dropout));
  std::unique_ptr<Trainer> trainer(new Trainer(std::move(engine), options));
  PL_ASSIGN_OR_RETURN(trainer->graph_, trainer->engine_->train_graph());
  trainer->adapter_ = std::move(adapter);
  PL_ASSIGN_OR_RETURN(trainer->optimizer_,
                      make_optimizer(options.optimizer, options.settings,
                                     matrix_shapes(*trainer->engine_->layout(), trainer->adapter_->tensors())));
  PL_RETURN_IF_ERROR(trainer->make_plan(options));
  PL_RETURN_IF_ERROR(trainer->allocate_buffers(options));
  return trainer;
}

Status Trainer::make_plan(const TrainerOptions& options) {
  const int64_t layer_gradients = group_sites_by_layer();
  PL_ASSIGN_OR_RETURN(TrainingNeeds needs, present_needs(engine_.get(), graph_));
  needs.adapter = adapter_->nbytes() * (best_.options().keep ? 2 : 1);
  needs.optimizer = optimizer_->nbytes();
  constexpr int64_t kPageRounding = 4096;
  needs.gradients = adapter_->nbytes() + layer_gradients + kPageRounding;
  TrainingWishes wishes;
  wishes.memory_limit = engine_->memory_limit();
  wishes.max_rows = options.max_rows;
  wishes.format = float_format(options.activations);
  wishes.may_spill = !options.scratch_dir.empty();
  wishes.activation_limit = options.activation_limit;
  PL_ASSIGN_OR_RETURN(plan_, plan_training(needs, wishes));
  return Status();
}

Status Trainer::allocate_buffers(const TrainerOptions& options) {
  MemoryAccount* account = &engine_->account();
  const ModelFacts& model = engine_->manifest().model;
  const int64_t rows = plan_.activations.max_rows;
  rows_hold_ = std::make_unique<RowsCap::Hold>(&engine_->rows_cap(), rows);
  PL_ASSIGN_OR_RETURN(activations_, ActivationStore::create(plan_.activations, options.scratch_dir, account));
  PL_ASSIGN_OR_RETURN(const size_t hidden, bytes_of({rows, model.hidden_size, sizeof(float)}));
  PL_ASSIGN_OR_RETURN(const size_t rope, bytes_of({rows, model.rope_width(), sizeof(float)}));
  PL_ASSIGN_OR_RETURN(grad_hidden_, ReservedBuffer::reserve(hidden, account, MemoryPart::kScratch));
  PL_ASSIGN_OR_RETURN(rope_, ReservedBuffer::reserve(rope, account, MemoryPart::kScratch));
  PL_ASSIGN_OR_RETURN(gradients_, AdapterTensors::allocate(*engine_->layout(), adapter_->config().site_ranks));
  PL_RETURN_IF_ERROR(allocate_layer_gradients(group_sites_by_layer()));
  charges_.emplace_back(account, MemoryPart::kGradients, gradients_->nbytes());
  charges_.emplace_back(account, MemoryPart::kOptimizer, optimizer_->nbytes());
  take_adapter(std::move(adapter_));
  return Status();
}

void Trainer::take_adapter(std::shared_ptr<Adapter> adapter) {
  adapter_ = charge_adapter(engine_, std::move(adapter));
  views_.clear();
  for (const AdapterSite& site : adapter_->tensors().sites()) views_.push_back({site.rank, site.a, site.b, site.scale});
}

Status Trainer::make_writable() {
  if (adapter_.use_count() == 1) return Status();
  const bool planned = adapter_.use_count() == 2 && best_.adapter() == adapter_;
  const int64_t limit = engine_->memory_limit();
  if (!planned && limit > 0 && plan_.total() + adapter_->nbytes() > limit) {
    return error(PL_OUT_OF_MEMORY,
                 "a snapshot of the adapter is held: another copy of %lld bytes does not fit the memory limit of %lld; "
                 "release the snapshot first",
                 static_cast<long long>(adapter_->nbytes()), static_cast<long long>(limit));
  }
  PL_ASSIGN_OR_RETURN(AdapterTensors copy, adapter_->clone_tensors());
  take_adapter(Adapter::from_tensors(engine_->layout(), adapter_->config(), std::move(copy)));
  return Status();
}

int64_t Trainer::group_sites_by_layer() {
  const AdapterLayout& layout = *engine_->layout();
  sites_of_layer_.assign(static_cast<size_t>(engine_->manifest().model.num_layers), {});
  for (size_t s = 0; s < layout.sites.size(); ++s) {
    sites_of_layer_[static_cast<size_t>(layout.sites[s].layer)].push_back(s);
  }
  int64_t largest = 0;  // of tensors that are allocated, so that it cannot wrap
  for (const auto& sites : sites_of_layer_) {
    int64_t total = 0;
    for (const size_t s : sites) total += site_elements(s);
    largest = std::max(largest, total);
  }
  return largest * static_cast<int64_t>(sizeof(float));
}

int64_t Trainer::site_elements(size_t site) const {
  const AdapterSiteLayout& layout = engine_->layout()->sites[site];
  return adapter_->tensors().sites()[site].rank * (layout.in_features + layout.out_features);
}

Status Trainer::allocate_layer_gradients(int64_t bytes) {
  const AdapterLayout& layout = *engine_->layout();
  PL_ASSIGN_OR_RETURN(layer_gradients_,
                      ReservedBuffer::reserve(static_cast<size_t>(bytes), &engine_->account(), MemoryPart::kGradients));
  layer_sites_.resize(layout.sites.size());
  for (const auto& sites : sites_of_layer_) {
    float* next = layer_gradients_.as<float>();
    for (const size_t s : sites) {
      const int64_t rank = adapter_->tensors().sites()[s].rank;
      layer_sites_[s] = {rank, next, next + rank * layout.sites[s].in_features, nullptr};
      next += site_elements(s);
    }
  }
  return Status();
}

Status Trainer::set_learning_rate(float learning_rate) {
  if (!std::isfinite(learning_rate) || learning_rate < 0.0F) {
    return error(PL_INVALID_ARGUMENT, "learning_rate: expected 0 or more, found %g",
                 static_cast<double>(learning_rate));
  }
  state_.learning_rate = learning_rate;
  return Status();
}

Status Trainer::cancelled() const {
  return error(PL_CANCELLED, "step %lld was cancelled; the adapter is unchanged",
               static_cast<long long>(state_.step + 1));
}

Status Trainer::at_block() { return control_.at_block() ? cancelled() : Status(); }

Result<double> Trainer::run_pass(const BatchView& batch, float weight, size_t index) {
  const PackedRows rows = pack_for_loss(batch, weight);
  activations_->begin(static_cast<int64_t>(batch.tokens.size()));
  LossPass pass;
  pass.graph = graph_;
  pass.model = &engine_->manifest().model;
  pass.batch = &batch;
  pass.rows = &rows;
  pass.sites = {views_, {}};
  pass.dropout.probability = options_.dropout;
  pass.dropout.seed = SplitMix64(options_.seed ^ (static_cast<uint64_t>(state_.step) << 20) ^ index).next();
  pass.rope = rope_.as<float>();
  pass.hidden = [this](int64_t layer) { return activations_->state(layer); };
  pass.before_block = [this](int64_t layer) {
    PL_RETURN_IF_ERROR(at_block());
    return activations_->keep(layer);
  };
  pass.grad_hidden = grad_hidden_.as<float>();
  PL_ASSIGN_OR_RETURN(const LossPass::Output output, pass.run());
  double loss = 0.0;
  for (size_t i = 0; i < output.logprobs.size(); ++i) {
    loss -= static_cast<double>(output.logprobs[i]) * static_cast<double>(rows.weights[i]);
  }
  if (!std::isfinite(loss) || !std::isfinite(output.loss)) return std::numeric_limits<double>::quiet_NaN();
  PL_RETURN_IF_ERROR(run_backward(pass, index == 0));
  return loss;
}

Status Trainer::run_backward(const LossPass& pass, bool first) {
  const Extents dims = pass.extents();
  const size_t bytes = pass.hidden_bytes();
  // The last block's output has served its purpose once the head has run: its place is the second gradient buffer.
  float* incoming = pass.grad_hidden;
  float* outgoing = activations_->spare();
  const SiteBindings sites = {views_, first ? Span<const AdapterSite>(gradients_->sites()) : layer_sites_};
  for (int64_t layer = graph_->num_layers() - 1; layer >= 0; --layer) {
    PL_RETURN_IF_ERROR(at_block());
    int64_t seed = 0;
    PL_ASSIGN_OR_RETURN(const float* hidden, activations_->recall(layer));
    std::vector<InputTensor> inputs = {{"hidden", hidden}, {"grad_hidden", incoming}};
    pass.rope_rows().add_inputs(&inputs);
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
    const AdapterSite& to = gradients_->sites()[s];
    add(to.a, layer_sites_[s].a, to.rank * layout.sites[s].in_features);
    add(to.b, layer_sites_[s].b, to.rank * layout.sites[s].out_features);
  }
}

double Trainer::gradient_norm() const {
  const Span<const float> values = std::as_const(*gradients_).parameters();
  return std::sqrt(squared_norm(values.data(), static_cast<int64_t>(values.size())));
}

Result<std::vector<StepPass>> Trainer::passes_of(const std::vector<BatchView>& micro_batches) const {
  const Limits& bundle = engine_->manifest().limits;
  const PassLimits limits = {bundle.train_t_min, plan_.activations.max_rows, bundle.max_segments};
  const auto too_long = [&](const std::string& segment, int64_t rows) {
    return too_long_for_pass(*engine_, segment, rows, limits.max_rows);
  };
  std::vector<StepPass> passes;
  for (size_t i = 0; i < micro_batches.size(); ++i) {
    PL_RETURN_IF_ERROR(check_batch(micro_batches[i], engine_->manifest(), batch_name(i)));
    PL_ASSIGN_OR_RETURN(std::vector<StepPass> parts, split_passes(micro_batches[i], limits, batch_name(i), too_long));
    std::move(parts.begin(), parts.end(), std::back_inserter(passes));
  }
  return passes;
}

Result<StepReport> Trainer::compute(const std::vector<BatchView>& micro_batches) {
  PL_ASSIGN_OR_RETURN(const std::vector<StepPass> passes, passes_of(micro_batches));
  StepReport report;
  report.step = state_.step;
  report.skipped_steps = state_.skipped_steps;
  report.passes = static_cast<int64_t>(passes.size());
  for (const StepPass& pass : passes) {
    report.num_tokens += static_cast<int64_t>(pass.tokens.size());
    report.num_labels += count_labels(pass.view());
  }
  if (report.num_labels == 0) {
    return error(PL_INVALID_ARGUMENT, "step %lld: no token of its %zu micro-batches has a label",
                 static_cast<long long>(report.step + 1), micro_batches.size());
  }
  has_gradients_ = false;
  control_.begin_step(2 * graph_->num_layers() * report.passes);
  const Status status = run_passes(passes, &report);
  control_.end_step();
  PL_RETURN_IF_ERROR(status);
  has_gradients_ = report.finite;
  return report;
}

Status Trainer::run_passes(const std::vector<StepPass>& passes, StepReport* report) {
  const float weight = 1.0F / static_cast<float>(report->num_labels);
  for (size_t i = 0; i < passes.size() && report->finite; ++i) {
    PL_ASSIGN_OR_RETURN(const double loss, run_pass(passes[i].view(), weight, i));
    report->loss += loss;
    report->finite = std::isfinite(loss);
  }
  report->grad_norm = report->finite ? gradient_norm() : std::numeric_limits<double>::quiet_NaN();
  report->finite = report->finite && std::isfinite(report->grad_norm);
  return Status();
}

Result<StepReport> Trainer::forward_backward(const std::vector<BatchView>& micro_batches) {
  const Clock::time_point start = Clock::now();
  PL_ASSIGN_OR_RETURN(StepReport report, compute(micro_batches));
  if (!report.finite) return not_finite(state_.step + 1, report);
  report.seconds = seconds_since(start) - control_.paused_seconds();
  return report;
}

Result<StepReport> Trainer::step(const std::vector<BatchView>& micro_batches) {
  const Clock::time_point start = Clock::now();
  PL_RETURN_IF_ERROR(make_writable());
  PL_ASSIGN_OR_RETURN(StepReport report, compute(micro_batches));
  if (control_.take_cancel()) return cancelled();
  report.learning_rate = as_written(state_.learning_rate) * options_.schedule.factor(state_.step);
  if (report.finite) {
    clip_gradients(report.grad_norm);
    optimizer_->set_learning_rate(report.learning_rate);
    PL_RETURN_IF_ERROR(optimizer_->step(parameter_groups()));
    state_.skipped_in_row = 0;
  } else {
    PL_RETURN_IF_ERROR(skip(&report));
  }
  report.step = ++state_.step;
  state_.tokens += report.num_tokens;
  report.seconds = seconds_since(start) - control_.paused_seconds();
  note_progress(report);
  return report;
}

Status Trainer::skip(StepReport* report) {
  if (state_.skipped_in_row >= options_.max_skipped_steps) return not_finite(state_.step + 1, *report);
  ++state_.skipped_in_row;
  report->skipped_steps = ++state_.skipped_steps;
  report->skipped = true;
  return Status();
}

std::vector<ParameterGroup> Trainer::parameter_groups() {
  const AdapterLayout& layout = *engine_->layout();
  std::vector<ParameterGroup> groups;
  for (size_t s = 0; s < layout.sites.size(); ++s) {
    const AdapterSite& site = adapter_->tensors().sites()[s];
    const AdapterSite& gradient = gradients_->sites()[s];
    if (site.rank == 0) continue;
    const auto a = static_cast<size_t>(site.rank * layout.sites[s].in_features);
    const auto b = static_cast<size_t>(site.rank * layout.sites[s].out_features);
    groups.push_back({Span<float>(site.a, a), Span<const float>(gradient.a, a)});
    groups.push_back({Span<float>(site.b, b), Span<const float>(gradient.b, b)});
  }
  return groups;
}

// torch.nn.utils.clip_grad_norm_.
void Trainer::clip_gradients(double norm) {
  constexpr double kEpsilon = 1e-6;
  if (options_.max_grad_norm == 0.0F) return;
  const double factor = as_written(options_.max_grad_norm) / (norm + kEpsilon);
  if (factor >= 1.0) return;
  for (float& value : gradients_->parameters()) value *= static_cast<float>(factor);
}

void Trainer::note_progress(const StepReport& report) {
  ++trained_steps_;
  trained_tokens_ += report.num_tokens;
  trained_seconds_ += report.seconds;
  Progress facts;
  facts.step = state_.step;
  facts.total_steps = options_.schedule.total_steps;
  facts.loss = report.loss;
  facts.grad_norm = report.grad_norm;
  facts.learning_rate = report.learning_rate;
  facts.tokens = state_.tokens;
  facts.skipped_steps = state_.skipped_steps;
  if (trained_seconds_ > 0) facts.tokens_per_second = static_cast<double>(trained_tokens_) / trained_seconds_;
  if (facts.total_steps > 0) {
    const auto left = static_cast<double>(std::max<int64_t>(facts.total_steps - facts.step, 0));
    facts.seconds_left = trained_seconds_ / static_cast<double>(trained_steps_) * left;
  }
  control_.set(facts);
}

Status Trainer::get_gradient(const std::string& name, Span<float> out) const {
  if (!has_gradients_) return error(PL_INVALID_STATE, "there are no gradients: no step has been computed");
  const AdapterLayout& layout = *engine_->layout();
  for (size_t s = 0; s < layout.sites.size(); ++s) {
    const AdapterSite& site = gradients_->sites()[s];
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

}  // namespace pocketlora
