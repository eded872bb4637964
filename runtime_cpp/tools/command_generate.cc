#include <cstdio>
#include <map>
#include <memory>
#include <string>

#include "commands.h"
#include "compute_names.h"
#include "generation.h"
#include "name_of.h"
#include "validators.h"

namespace pocketlora_run {
namespace {

struct GenerateCommandOptions {
  BundleOptions bundle;
  GenerateOptions generate;
  std::string adapter;
  int64_t context_length = 0;
  bool adapter_fallback = false;
  bool memory = false;
  pl_cache_dtype cache_dtype = PL_CACHE_FLOAT32;
  pl_compute compute = PL_COMPUTE_AUTO;
};

const std::map<std::string, pl_cache_dtype> kCacheDtypes = {
    {"fp32", PL_CACHE_FLOAT32}, {"fp16", PL_CACHE_FLOAT16}, {"int8", PL_CACHE_INT8}};

Session open_session(pl_engine* engine, const GenerateCommandOptions& options) {
  pl_session_options settings;
  pl_session_options_init(&settings);
  settings.context_length = options.context_length;
  settings.cache_dtype = options.cache_dtype;
  settings.compute = options.compute;
  return create_session(engine, &settings);
}

/// What the session chose and what its cache took, for the result.
void add_session_facts(const pl_session* session, Json* result) {
  pl_session_info info = {};
  info.struct_size = sizeof(info);
  check(pl_session_get_info(session, &info));
  (*result)["cache_dtype"] = name_of(kCacheDtypes, info.cache_dtype);
  (*result)["compute"] = name_of(kComputes, info.compute);
  (*result)["decode_compute"] = name_of(kComputes, info.decode_compute);
  (*result)["prefill_compute"] = name_of(kComputes, info.prefill_compute);
  (*result)["context_length"] = info.context_length;
  (*result)["cache_bytes_per_token"] = info.bytes_per_token;
  (*result)["cache_resident"] = info.cache_resident;
}

/// @return false when the adapter cannot be used and the base is to stand in, which a `warning` event tells.
bool use_adapter(pl_engine* engine, pl_session* session, const GenerateCommandOptions& options) {
  try {
    const Adapter adapter = load_adapter(engine, options.adapter);
    const pl_adapter_ref ref = {adapter.get(), 1.0F};
    check(pl_session_set_adapters(session, &ref, 1));
    return true;
  } catch (const ToolError& error) {
    if (!options.adapter_fallback) throw;
    const std::string message = std::string("the base answers without its adapter: ") + error.what();
    print_event("warning", {{"code", error.code()}, {"message", message}});
    std::fprintf(stderr, "warning: %s\n", message.c_str());
    return false;
  }
}

void run_generate(GenerateCommandOptions options) {
  const Engine engine = options.bundle.open();
  const std::unique_ptr<Texts> texts = options.generate.resolve(options.bundle.bundle, engine.get());
  const Session session = open_session(engine.get(), options);
  const bool fell_back = !options.adapter.empty() && !use_adapter(engine.get(), session.get(), options);
  const Json idle = options.memory ? memory_json(engine_memory(engine.get())) : Json();
  Json result = generate(session.get(), options.generate, texts.get());
  if (options.adapter_fallback) result["adapter_fallback"] = fell_back;
  if (options.memory) {
    result["memory_idle"] = idle;
    result["memory"] = memory_json(engine_memory(engine.get()));
  }
  add_session_facts(session.get(), &result);
  print_json(result);
  if (texts != nullptr) std::fprintf(stderr, "%s\n", result["text"].get<std::string>().c_str());
  std::fprintf(stderr, "%lld prompt tokens in %.2f s, %lld new at %.1f tokens/s\n",
               static_cast<long long>(result["prompt_tokens"].get<int64_t>()), result["prefill_seconds"].get<double>(),
               static_cast<long long>(result["new_tokens"].get<int64_t>()), result["tokens_per_second"].get<double>());
}

}  // namespace

void add_generate(CLI::App* app) {
  CLI::App* command = app->add_subcommand("generate", "Continue a prompt, a text or token ids");
  const auto o = std::make_shared<GenerateCommandOptions>();
  o->bundle.add_to(command);
  o->generate.add_to(command);
  command->add_option("--adapter", o->adapter, "PEFT folder of an adapter");
  command->add_flag("--adapter-fallback", o->adapter_fallback,
                    "Let the base answer, with a warning, when the adapter cannot be loaded");
  command->add_option("--context-length", o->context_length, "Tokens that the session can hold (the bundle's)")
      ->check(above_zero());
  command->add_flag("--memory", o->memory, "Report memory by part, before the prompt is read and at the end");
  command->add_option("--cache-dtype", o->cache_dtype, "How keys and values are kept: fp32 (default), fp16 or int8")
      ->transform(CLI::CheckedTransformer(kCacheDtypes));
  command
      ->add_option(
          "--compute", o->compute,
          "Products of prompts and new tokens: fp32, int16 (about 6e-5 off), int8 (about 1 % off), bf16 (0.3 % off "
          "where the CPU multiplies matrices of bf16; elsewhere int16), or auto: the faster of the first two here "
          "(default)")
      ->transform(CLI::CheckedTransformer(kComputes));
  command->callback([o] { run_generate(*o); });
}

}  // namespace pocketlora_run
