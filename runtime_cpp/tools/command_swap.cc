#include <chrono>
#include <cstdio>
#include <memory>
#include <string>

#include "commands.h"
#include "generation.h"

namespace pocketlora_run {
namespace {

struct SwapOptions {
  BundleOptions bundle;
  GenerateOptions generate;
  std::vector<std::string> adapters;
};

// Replaces the session's adapters and says how many micro-seconds the call took. @param adapter null = the bare base.
double timed_swap(pl_session* session, const pl_adapter* adapter) {
  const pl_adapter_ref ref = {adapter, 1.0F};
  const auto begin = std::chrono::steady_clock::now();
  check(pl_session_set_adapters(session, adapter != nullptr ? &ref : nullptr, adapter != nullptr ? 1 : 0));
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begin).count();
}

void run_phase(pl_session* session, const std::string& name, const pl_adapter* adapter, const GenerateOptions& options,
               const Texts* texts) {
  const double microseconds = timed_swap(session, adapter);
  check(pl_session_reset(session));
  Json line = {{"adapter", name}, {"swap_microseconds", microseconds}};
  line.update(generate(session, options, texts));
  print_json(line);
  std::fprintf(stderr, "%s: swapped in %.1f us, %lld new tokens\n", name.empty() ? "base" : name.c_str(), microseconds,
               static_cast<long long>(line["new_tokens"].get<int64_t>()));
}

void run_swap(SwapOptions options) {
  const Engine engine = options.bundle.open();
  const std::unique_ptr<Texts> texts = options.generate.resolve(options.bundle.bundle, engine.get());
  const Session session = create_session(engine.get());
  std::vector<Adapter> adapters;
  for (const std::string& dir : options.adapters) adapters.push_back(load_adapter(engine.get(), dir));
  run_phase(session.get(), "", nullptr, options.generate, texts.get());
  for (size_t i = 0; i < adapters.size(); ++i) {
    run_phase(session.get(), options.adapters[i], adapters[i].get(), options.generate, texts.get());
  }
  run_phase(session.get(), "", nullptr, options.generate, texts.get());
}

}  // namespace

void add_swap(CLI::App* app) {
  CLI::App* command = app->add_subcommand(
      "swap", "Continue one prompt with the base, each adapter, and the base again, in one live session");
  const auto o = std::make_shared<SwapOptions>();
  o->bundle.add_to(command);
  o->generate.add_to(command);
  command->add_option("--adapter", o->adapters, "PEFT folder of an adapter; repeat for more")
      ->required()
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  command->callback([o] { run_swap(*o); });
}

}  // namespace pocketlora_run
