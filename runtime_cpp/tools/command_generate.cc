#include <cstdio>
#include <memory>
#include <string>

#include "commands.h"
#include "generation.h"

namespace pocketlora_run {
namespace {

struct Options {
  BundleOptions bundle;
  GenerateOptions generate;
  std::string adapter;
};

void run_generate(const Options& options) {
  const Engine engine = options.bundle.open();
  const Session session = create_session(engine.get());
  if (!options.adapter.empty()) {
    const Adapter adapter = load_adapter(engine.get(), options.adapter);
    const pl_adapter_ref ref = {adapter.get(), 1.0F};
    check(pl_session_set_adapters(session.get(), &ref, 1));
  }
  const Json result = generate(session.get(), options.generate);
  print_json(result);
  std::fprintf(stderr, "%lld prompt tokens in %.2f s, %lld new at %.1f tokens/s\n",
               static_cast<long long>(result["prompt_tokens"].get<int64_t>()), result["prefill_seconds"].get<double>(),
               static_cast<long long>(result["new_tokens"].get<int64_t>()), result["tokens_per_second"].get<double>());
}

}  // namespace

void add_generate(CLI::App* app) {
  CLI::App* command = app->add_subcommand("generate", "Continue a prompt of token ids");
  const auto o = std::make_shared<Options>();
  o->bundle.add_to(command);
  o->generate.add_to(command);
  command->add_option("--adapter", o->adapter, "PEFT folder of an adapter");
  command->callback([o] { run_generate(*o); });
}

}  // namespace pocketlora_run
