#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <map>
#include <memory>

#include "batching.h"
#include "commands.h"
#include "events.h"
#include "interrupt.h"
#include "output_folder.h"
#include "validators.h"

namespace pocketlora_run {
namespace {

constexpr int32_t kDefaultRank = 8;

struct TrainOptions {
  BundleOptions bundle;
  std::string data, output, init_adapter, target_modules;
  std::string optimizer = "adamw";
  int64_t iters = 100, batch_size = 4, accumulation = 1;
  double learning_rate = 1e-4;  // as typed, for the events
  float dropout = 0, weight_decay = 0, momentum = 0;
  int32_t rank = 0;  // 0 = the default
  float alpha = 0;   // 0 = 2 x rank
  uint64_t seed = 0;
  bool force = false;
  pl_activations activations = PL_ACTIVATIONS_AUTO;
  std::string scratch_dir;
};

const std::map<std::string, pl_activations> kActivations = {{"auto", PL_ACTIVATIONS_AUTO},
                                                            {"fp32", PL_ACTIVATIONS_FP32},
                                                            {"fp16", PL_ACTIVATIONS_FP16},
                                                            {"bf16", PL_ACTIVATIONS_BF16}};
const std::map<std::string, pl_weights> kWeights = {
    {"auto", PL_WEIGHTS_AUTO}, {"keep", PL_WEIGHTS_KEEP}, {"stream", PL_WEIGHTS_STREAM}};

int64_t major_faults() {
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_majflt;
}

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// A training run: its rows, its trainer, and what has been done so far.
class Run {
 public:
  Run(const TrainOptions& options, pl_engine* engine, const pl_adapter* init)
      : options_(options), engine_(engine), info_(engine_info(engine)) {
    rows_ = read_rows(options.data, {info_.vocab_size, info_.train_t_max, info_.max_segments});
    order_ = std::make_unique<RowOrder>(rows_.size(), options.seed);
    create_trainer(init);
  }

  void train() {
    report_plan();
    const InterruptCancels cancels([](void* trainer) { pl_trainer_cancel(static_cast<pl_trainer*>(trainer)); },
                                   trainer_.get());
    started_ = now();
    for (int64_t step = 1; step <= options_.iters; ++step) {
      stop_if_interrupted();
      report(one_step());
    }
    stop_if_interrupted();
  }

  void save() {
    pl_adapter* trained = nullptr;
    check(pl_trainer_get_adapter(trainer_.get(), &trained));
    const Adapter adapter(trained);
    check(pl_adapter_save(adapter.get(), options_.output.c_str()));
    const double seconds = now() - started_;
    print_event("complete", {{"steps", options_.iters},
                             {"tokens", tokens_},
                             {"seconds", seconds},
                             {"path", options_.output},
                             {"loss", loss_},
                             {"seconds_per_step", seconds / static_cast<double>(options_.iters)},
                             {"major_faults", major_faults()},
                             {"memory", memory_json(engine_memory(engine_))}});
    std::fprintf(stderr, "%lld steps, %lld tokens in %.1f s: loss %.4f; adapter written to %s\n",
                 static_cast<long long>(options_.iters), static_cast<long long>(tokens_), seconds, loss_,
                 options_.output.c_str());
  }

 private:
  void create_trainer(const pl_adapter* init) {
    pl_trainer_options trainer;
    pl_trainer_options_init(&trainer);
    trainer.rank =
        options_.rank > 0 ? options_.rank : static_cast<int32_t>(std::min<int64_t>(kDefaultRank, info_.max_rank));
    trainer.alpha = options_.alpha > 0 ? options_.alpha : 2.0F * static_cast<float>(trainer.rank);
    trainer.target_modules = options_.target_modules.empty() ? nullptr : options_.target_modules.c_str();
    trainer.optimizer = options_.optimizer == "sgd" ? PL_SGD : PL_ADAMW;
    trainer.learning_rate = static_cast<float>(options_.learning_rate);
    trainer.weight_decay = options_.weight_decay;
    trainer.momentum = options_.momentum;
    trainer.dropout = options_.dropout;
    trainer.seed = options_.seed;
    trainer.activations = options_.activations;
    trainer.scratch_dir = options_.scratch_dir.empty() ? nullptr : options_.scratch_dir.c_str();
    pl_trainer* handle = nullptr;
    check(pl_trainer_create(engine_, &trainer, init, &handle));
    trainer_.reset(handle);
  }

  void report_plan() const {
    pl_trainer_info plan = {};
    plan.struct_size = sizeof(plan);
    check(pl_trainer_get_info(trainer_.get(), &plan));
    std::string format;
    for (const auto& [name, value] : kActivations) format = value == plan.activations ? name : format;
    print_event("plan", {{"max_rows", plan.max_rows},
                         {"activations", format},
                         {"streams_weights", plan.streams_weights != 0},
                         {"spilled", plan.spilled},
                         {"memory_limit", plan.memory_limit},
                         {"planned", plan.planned},
                         {"arena", plan.arena},
                         {"block_inputs", plan.block_inputs},
                         {"adapter", plan.adapter},
                         {"gradients", plan.gradients},
                         {"optimizer", plan.optimizer},
                         {"kv_cache", plan.kv_cache},
                         {"scratch", plan.scratch},
                         {"other", plan.other}});
    std::fprintf(stderr, "%lld rows a pass, layers' inputs in %s%s%s; %.1f MB planned\n",
                 static_cast<long long>(plan.max_rows), format.c_str(), plan.spilled > 0 ? " and a scratch file" : "",
                 plan.streams_weights != 0 ? ", weights streamed" : "", static_cast<double>(plan.planned) / 1e6);
  }

  // The micro-batches of one optimizer step: so many groups of so many rows, each group packed on its own.
  std::vector<MicroBatch> next_batches() {
    std::vector<MicroBatch> batches;
    for (int64_t group = 0; group < options_.accumulation; ++group) {
      std::vector<const Row*> rows;
      for (int64_t i = 0; i < options_.batch_size; ++i) rows.push_back(&rows_[order_->next()]);
      for (MicroBatch& batch : pack(rows, {info_.train_t_max, info_.max_segments})) batches.push_back(std::move(batch));
    }
    return batches;
  }

  pl_step_report one_step() {
    const std::vector<MicroBatch> batches = next_batches();
    std::vector<pl_batch> views;
    views.reserve(batches.size());
    for (const MicroBatch& batch : batches) views.push_back(batch.view());
    pl_step_report step = {};
    step.struct_size = sizeof(step);
    const pl_status status = pl_trainer_step(trainer_.get(), views.data(), views.size(), &step);
    if (status == PL_CANCELLED) throw Interrupted();
    check(status);
    if (!std::isfinite(step.loss) || !std::isfinite(step.grad_norm)) {
      throw ToolError(PL_BACKEND_EXECUTION, "training diverged: loss " + std::to_string(step.loss) +
                                                ", gradient norm " + std::to_string(step.grad_norm) + " at step " +
                                                std::to_string(step.step) +
                                                "; nothing was saved; a lower --learning-rate may help");
    }
    return step;
  }

  void report(const pl_step_report& step) {
    loss_ = step.loss;
    tokens_ += step.num_tokens;
    const double rate = step.seconds > 0 ? static_cast<double>(step.num_tokens) / step.seconds : 0;
    const double left =
        (now() - started_) / static_cast<double>(step.step) * static_cast<double>(options_.iters - step.step);
    const pl_memory memory = engine_memory(engine_);
    print_event("progress", {{"step", step.step},
                             {"steps", options_.iters},
                             {"loss", step.loss},
                             {"learning_rate", options_.learning_rate},
                             {"tokens", tokens_},
                             {"tokens_per_second", rate},
                             {"grad_norm", step.grad_norm},
                             {"seconds_left", left},
                             {"rss_anon", memory.rss_anon},
                             {"rss_file", memory.rss_file}});
    std::fprintf(stderr, "step %lld of %lld: loss %.4f, %.0f tokens/s, %.0f s left\n",
                 static_cast<long long>(step.step), static_cast<long long>(options_.iters), step.loss, rate, left);
  }

  const TrainOptions& options_;
  pl_engine* engine_;
  pl_engine_info info_;
  std::vector<Row> rows_;
  std::unique_ptr<RowOrder> order_;
  Trainer trainer_;
  double started_ = 0;
  double loss_ = 0;
  int64_t tokens_ = 0;
};

void run_train(const TrainOptions& options) {
  check_output(options.output, options.force);
  const Engine engine = options.bundle.open();
  Adapter init;
  if (!options.init_adapter.empty()) init = load_adapter(engine.get(), options.init_adapter);
  Run run(options, engine.get(), init.get());
  run.train();
  run.save();
}

}  // namespace

void add_train(CLI::App* app) {
  CLI::App* command = app->add_subcommand("train", "Train a LoRA adapter on rows of token ids");
  const auto o = std::make_shared<TrainOptions>();
  o->bundle.add_to(command);
  command->add_option("--data", o->data, "Rows: {\"token_ids\": [...], \"labels\": [...]} (JSONL)")->required();
  command->add_option("-o,--output", o->output, "Folder for the adapter, in PEFT's format")->required();
  command->add_option("--iters", o->iters, "Optimizer steps")->capture_default_str()->check(above_zero());
  command->add_option("--learning-rate", o->learning_rate)->capture_default_str()->check(above_zero());
  command->add_option("--optimizer", o->optimizer)->capture_default_str()->check(CLI::IsMember({"adamw", "sgd"}));
  command->add_option("--batch-size", o->batch_size, "Rows of a micro-batch")
      ->capture_default_str()
      ->check(above_zero());
  command->add_option("--grad-accumulation-steps", o->accumulation, "Micro-batches of an optimizer step")
      ->capture_default_str()
      ->check(above_zero());
  CLI::Option* rank =
      command->add_option("--rank", o->rank, "LoRA rank (8, or the bundle's maximum)")->check(above_zero());
  CLI::Option* alpha = command->add_option("--alpha", o->alpha, "Scale: alpha / rank (2 x rank)")->check(above_zero());
  CLI::Option* modules = command->add_option("--target-modules", o->target_modules, "NAME,... (all of the bundle's)");
  command->add_option("--dropout", o->dropout)->capture_default_str()->check(probability_below_one());
  command->add_option("--weight-decay", o->weight_decay)->capture_default_str()->check(not_negative());
  command->add_option("--momentum", o->momentum, "Of sgd")->capture_default_str()->check(not_negative());
  command
      ->add_option("--init-adapter", o->init_adapter, "Go on from this PEFT folder, with its rank, alpha and modules")
      ->excludes(rank)
      ->excludes(alpha)
      ->excludes(modules);
  command->add_option("--seed", o->seed, "Of the start, the order of rows and the dropout")->capture_default_str();
  command
      ->add_option("--memory-limit", o->bundle.memory_limit,
                   "What training may allocate, e.g. 800MB: rows, activations and spilling are chosen to fit")
      ->transform(size_in_bytes());
  command->add_option("--activations", o->activations, "What layers' inputs are kept as: auto, fp32, fp16, bf16")
      ->transform(CLI::CheckedTransformer(kActivations));
  command->add_option("--scratch-dir", o->scratch_dir, "Folder for layers' inputs that memory has no room for");
  command->add_option("--weights", o->bundle.weights, "Pages of the base: auto, keep, stream")
      ->transform(CLI::CheckedTransformer(kWeights));
  command->add_flag("--force", o->force, "Replace an adapter that is already in the output folder");
  command->callback([o] { run_train(*o); });
}

}  // namespace pocketlora_run
