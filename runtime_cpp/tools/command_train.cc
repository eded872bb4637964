#include <memory>

#include "commands.h"
#include "output_folder.h"
#include "train_options.h"
#include "training_run.h"

namespace pocketlora_run {
namespace {

void run_train(const TrainOptions& options) {
  options.check();
  check_output(options.output, options.force);
  BundleOptions bundle = options.bundle;
  bundle.verify = bundle.verify || options.verify_base;
  const Engine engine = bundle.open();
  Adapter init;
  if (!options.init_adapter.empty()) init = load_adapter(engine.get(), options.init_adapter);
  TrainingRun run(options, engine.get(), init.get());
  run.train();
  run.save();
}

}  // namespace

void add_train(CLI::App* app) {
  CLI::App* command = app->add_subcommand("train", "Train a LoRA adapter on rows of token ids");
  const auto options = std::make_shared<TrainOptions>();
  options->add_to(command);
  command->callback([options] { run_train(*options); });
}

}  // namespace pocketlora_run
