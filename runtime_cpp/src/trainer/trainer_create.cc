// Trainer::create: the adapter, the optimizer, the plan and what it reserves.

#include <charconv>
#include <cstdlib>
#include <optional>
#include <utility>

#include "adapters/adapter_set.h"
#include "bundle/checked_size.h"
#include "trainer/pass_memory.h"
#include "trainer/trainer.h"

namespace pocketlora {
namespace {

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
  PL_RETURN_IF_ERROR(options.check());
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
  PL_RETURN_IF_ERROR(trainer->take_reference(init));
  PL_RETURN_IF_ERROR(trainer->make_plan(options));
  PL_RETURN_IF_ERROR(trainer->allocate_buffers(options));
  return trainer;
}

Status Trainer::make_plan(const TrainerOptions& options) {
  PL_ASSIGN_OR_RETURN(TrainingNeeds needs, present_needs(engine_.get(), graph_));
  needs.adapter = adapter_->nbytes() * (best_.options().keep ? 2 : 1);
  needs.optimizer = optimizer_->nbytes();
  needs.gradients = Gradients::nbytes_of(*adapter_);
  TrainingWishes wishes;
  wishes.memory_limit = engine_->memory_limit();
  wishes.max_rows = options.max_rows;
  wishes.format = float_format(options.activations);
  wishes.may_spill = !options.scratch_dir.empty();
  wishes.activation_limit = options.activation_limit;
  wishes.recompute = options.recompute;
  PL_ASSIGN_OR_RETURN(plan_, plan_training(needs, wishes));
  return Status();
}

Status Trainer::allocate_buffers(const TrainerOptions& options) {
  MemoryAccount* account = &engine_->account();
  const ModelFacts& model = engine_->manifest().model;
  const int64_t rows = plan_.activations.max_rows;
  rows_hold_ = std::make_unique<RowsCap::Hold>(&engine_->rows_cap(), rows);
  PL_ASSIGN_OR_RETURN(activations_, ActivationStore::create(plan_.activations, options.scratch_dir, account));
  PL_ASSIGN_OR_RETURN(kept_, KeptProducts::create(*graph_, plan_.kept_blocks, rows, account));
  PL_ASSIGN_OR_RETURN(const size_t hidden, bytes_of({rows, model.hidden_size, sizeof(float)}));
  PL_ASSIGN_OR_RETURN(const size_t rope, bytes_of({rows, model.rope_width(), sizeof(float)}));
  PL_ASSIGN_OR_RETURN(grad_hidden_, ReservedBuffer::reserve(hidden, account, MemoryPart::kScratch));
  PL_ASSIGN_OR_RETURN(rope_, ReservedBuffer::reserve(rope, account, MemoryPart::kScratch));
  PL_ASSIGN_OR_RETURN(gradients_, Gradients::allocate(*adapter_, account));
  optimizer_charge_ = MemoryCharge(account, MemoryPart::kOptimizer, optimizer_->nbytes());
  take_adapter(std::move(adapter_));
  return Status();
}

}  // namespace pocketlora
