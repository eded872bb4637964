#include "train_options.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "compute_names.h"
#include "name_of.h"
#include "tool_error.h"
#include "validators.h"

namespace pocketlora_run {
namespace {

constexpr int32_t kDefaultRank = 8;

const std::map<std::string, pl_optimizer> kOptimizers = {{"adamw", PL_ADAMW},
                                                         {"adamw-8bit", PL_ADAMW_8BIT},
                                                         {"adafactor", PL_ADAFACTOR},
                                                         {"lion", PL_LION},
                                                         {"sgd", PL_SGD}};
const std::map<std::string, pl_schedule> kSchedules = {
    {"constant", PL_SCHEDULE_CONSTANT}, {"linear", PL_SCHEDULE_LINEAR}, {"cosine", PL_SCHEDULE_COSINE}};
const std::map<std::string, pl_loss> kLosses = {{"sft", PL_LOSS_CROSS_ENTROPY}, {"dpo", PL_LOSS_DPO}};
const std::map<std::string, pl_activations> kActivations = {{"auto", PL_ACTIVATIONS_AUTO},
                                                            {"fp32", PL_ACTIVATIONS_FP32},
                                                            {"fp16", PL_ACTIVATIONS_FP16},
                                                            {"bf16", PL_ACTIVATIONS_BF16}};
const std::map<std::string, pl_recompute> kRecompute = {
    {"auto", PL_RECOMPUTE_AUTO}, {"full", PL_RECOMPUTE_FULL}, {"selective", PL_RECOMPUTE_SELECTIVE}};
const std::map<std::string, pl_weights> kWeights = {
    {"auto", PL_WEIGHTS_AUTO}, {"keep", PL_WEIGHTS_KEEP}, {"stream", PL_WEIGHTS_STREAM}};

void add_data(CLI::App* command, TrainOptions* o) {
  command->add_option("--data", o->data, "Rows: {\"token_ids\": [...], \"labels\": [...]} (JSONL)")->required();
  command->add_option("-o,--output", o->output, "Folder for the adapter, in PEFT's format")->required();
  command->add_option("--batch-size", o->batch_size, "Rows of a micro-batch")
      ->capture_default_str()
      ->check(above_zero());
  command->add_option("--grad-accumulation-steps", o->accumulation, "Micro-batches of an optimizer step")
      ->capture_default_str()
      ->check(above_zero());
  command->add_option("--seed", o->seed, "Of the start, the order of rows and the dropout")->capture_default_str();
  command->add_flag("--force", o->force, "Replace an adapter that is already in the output folder");
  command->add_flag("--verify-base", o->verify_base, "Hash the base before and after training; a change is an error");
}

void add_adapter(CLI::App* command, TrainOptions* o) {
  CLI::Option* rank =
      command->add_option("--rank", o->rank, "LoRA rank (8, or the bundle's maximum)")->check(above_zero());
  CLI::Option* alpha = command->add_option("--alpha", o->alpha, "Scale: alpha / rank (2 x rank)")->check(above_zero());
  CLI::Option* modules = command->add_option("--target-modules", o->target_modules, "NAME,... (all of the bundle's)");
  command->add_option("--dropout", o->dropout)->capture_default_str()->check(probability_below_one());
  command
      ->add_option("--init-adapter", o->init_adapter, "Go on from this PEFT folder, with its rank, alpha and modules")
      ->excludes(rank)
      ->excludes(alpha)
      ->excludes(modules);
}

void add_optimizer(CLI::App* command, TrainOptions* o) {
  CLI::Option* iters =
      command->add_option("--iters", o->iters, "Optimizer steps")->capture_default_str()->check(above_zero());
  command->add_option("--epochs", o->epochs, "Passes over the data, instead of --iters")
      ->check(above_zero())
      ->excludes(iters);
  command->add_option("--learning-rate", o->learning_rate)->capture_default_str()->check(above_zero());
  command->add_option("--optimizer", o->optimizer, "adamw, adamw-8bit, adafactor, lion, sgd")
      ->capture_default_str()
      ->check(CLI::IsMember(kOptimizers));
  command->add_option("--beta1", o->beta1, "Of adamw, adamw-8bit and lion (0.9)")->check(probability_below_one());
  command->add_option("--beta2", o->beta2, "Of adamw and adamw-8bit (0.999), and of lion (0.99)")
      ->check(probability_below_one());
  command->add_option("--weight-decay", o->weight_decay)->capture_default_str()->check(not_negative());
  command->add_option("--momentum", o->momentum, "Of sgd")->capture_default_str()->check(not_negative());
  command->add_option("--schedule", o->schedule, "Of the learning rate: constant, linear, cosine")
      ->transform(CLI::CheckedTransformer(kSchedules));
  command->add_option("--warmup-steps", o->warmup_steps, "Steps over which the learning rate rises from 0")
      ->capture_default_str()
      ->check(not_negative());
  command->add_option("--max-grad-norm", o->max_grad_norm, "Gradients with a larger norm are scaled down (0 = never)")
      ->capture_default_str()
      ->check(not_negative());
  command
      ->add_option("--max-skipped-steps", o->max_skipped_steps,
                   "Steps in a row that may be left out because something was not finite")
      ->capture_default_str()
      ->check(not_negative());
}

void add_loss(CLI::App* command, TrainOptions* o) {
  command
      ->add_option(
          "--loss", o->loss,
          "sft, or dpo: rows {\"chosen\": {\"token_ids\": ...}, \"rejected\": ...}; reference: --init-adapter or "
          "the base")
      ->transform(CLI::CheckedTransformer(kLosses));
  command->add_option("--beta", o->beta, "Of dpo: how far rewards lead from the reference (0.1)")->check(above_zero());
  command->add_option("--label-smoothing", o->label_smoothing, "Of dpo: how probable swapped answers are, below 0.5")
      ->check(not_negative());
}

void add_validation(CLI::App* command, TrainOptions* o) {
  command->add_option("--valid", o->valid, "Held-out rows (JSONL): evaluated before and after");
  command->add_option("--eval-every", o->eval_every, "Evaluate them every N steps as well")->check(above_zero());
  command->add_option("--patience", o->patience, "Stop after N evaluations without improvement; saves the best adapter")
      ->check(above_zero());
  command->add_flag("--keep-best", o->keep_best, "Save the adapter with the lowest held-out loss, not the last one");
}

void add_checkpoints(CLI::App* command, TrainOptions* o) {
  command->add_option(
      "--checkpoint-dir", o->checkpoint_dir,
      "Folder of checkpoints: training that was stopped, even killed, goes on from there with --resume");
  command->add_option("--checkpoint-every", o->checkpoint_every, "Steps between two checkpoints")
      ->capture_default_str()
      ->check(above_zero());
  command->add_option("--keep", o->keep, "Checkpoints that stay")->capture_default_str()->check(above_zero());
  command->add_flag("--resume", o->resume, "Go on from the newest checkpoint, or begin when there is none");
}

void add_compute(CLI::App* command, TrainOptions* o) {
  command
      ->add_option(
          "--compute", o->compute,
          "Products of the layers and the head: fp32 (default), int16 (gradients a few 1e-4 off), int8 (3 % off, "
          "where the CPU multiplies bytes; elsewhere int16 for passes of more than 16 tokens), bf16 (where the CPU "
          "multiplies matrices of bf16; elsewhere int16), or auto, the faster of the first two here")
      ->transform(CLI::CheckedTransformer(kComputes));
}

void add_memory(CLI::App* command, TrainOptions* o) {
  command
      ->add_option("--memory-limit", o->bundle.memory_limit,
                   "What training may allocate, e.g. 800MB: rows, activations and spilling are chosen to fit")
      ->transform(size_in_bytes());
  command->add_option("--activations", o->activations, "What layers' inputs are kept as: auto, fp32, fp16, bf16")
      ->transform(CLI::CheckedTransformer(kActivations));
  command
      ->add_option(
          "--recompute", o->recompute,
          "What the backward computes again of a layer: auto (what the memory limit asks for), full, selective "
          "(all but the MLP's gate and up, which are kept: faster)")
      ->transform(CLI::CheckedTransformer(kRecompute));
  command->add_option("--scratch-dir", o->scratch_dir, "Folder for layers' inputs that memory has no room for");
  command->add_option("--weights", o->bundle.weights, "Pages of the base: auto, keep, stream")
      ->transform(CLI::CheckedTransformer(kWeights));
}

}  // namespace

void TrainOptions::add_to(CLI::App* command) {
  bundle.add_to(command);
  add_data(command, this);
  add_adapter(command, this);
  add_optimizer(command, this);
  add_loss(command, this);
  add_validation(command, this);
  add_checkpoints(command, this);
  add_memory(command, this);
  add_compute(command, this);
}

void TrainOptions::check() const {
  std::string problems;
  const auto require = [&problems](bool holds, const char* problem) {
    if (!holds) problems += (problems.empty() ? "" : "\n") + std::string(problem);
  };
  require(!valid.empty() || eval_every == 0, "--eval-every needs --valid FILE");
  require(!valid.empty() || patience == 0, "--patience needs --valid FILE");
  require(!valid.empty() || !keep_best, "--keep-best needs --valid FILE");
  require(!checkpoint_dir.empty() || !resume, "--resume needs --checkpoint-dir FOLDER");
  require(learns_preferences() || beta == 0, "--beta needs --loss dpo");
  require(learns_preferences() || label_smoothing == 0, "--label-smoothing needs --loss dpo");
  if (!problems.empty()) throw ToolError(PL_INVALID_ARGUMENT, problems);
}

int64_t TrainOptions::steps(size_t num_rows) const {
  if (epochs <= 0) return iters;
  const double rows_of_a_step = static_cast<double>(batch_size) * static_cast<double>(accumulation);
  return std::max<int64_t>(static_cast<int64_t>(std::ceil(epochs * static_cast<double>(num_rows) / rows_of_a_step)), 1);
}

pl_trainer_options TrainOptions::trainer(const pl_engine_info& info, int64_t steps) const {
  pl_trainer_options c;
  pl_trainer_options_init(&c);
  c.rank = rank > 0 ? rank : static_cast<int32_t>(std::min<int64_t>(kDefaultRank, info.max_rank));
  c.alpha = alpha > 0 ? alpha : 2.0F * static_cast<float>(c.rank);
  c.target_modules = target_modules.empty() ? nullptr : target_modules.c_str();
  c.optimizer = kOptimizers.at(optimizer);
  c.learning_rate = static_cast<float>(learning_rate);
  if (beta1 > 0) c.beta1 = beta1;
  if (c.optimizer == PL_LION) c.beta2 = 0.99F;
  if (beta2 > 0) c.beta2 = beta2;
  c.weight_decay = weight_decay;
  c.momentum = momentum;
  c.dropout = dropout;
  c.seed = seed;
  c.activations = activations;
  c.scratch_dir = scratch_dir.empty() ? nullptr : scratch_dir.c_str();
  c.schedule = schedule;
  c.warmup_steps = warmup_steps;
  c.total_steps = steps;
  c.max_grad_norm = max_grad_norm;
  c.max_skipped_steps = max_skipped_steps;
  c.loss = loss;
  if (beta > 0) c.beta = beta;
  c.label_smoothing = label_smoothing;
  c.recompute = recompute;
  c.keep_best = saves_best() ? 1 : 0;
  c.patience = patience;
  c.compute = compute;
  return c;
}

std::string activations_name(pl_activations activations) { return name_of(kActivations, activations); }

std::string loss_name(pl_loss loss) { return name_of(kLosses, loss); }

}  // namespace pocketlora_run
