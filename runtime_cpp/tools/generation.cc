#include "generation.h"

#include <optional>
#include <string>

#include "commands.h"
#include "interrupt.h"
#include "stop_text.h"
#include "validators.h"

namespace pocketlora_run {
namespace {

// What arrives while tokens are made. No exception may leave the callback, so a failure waits in `problem`.
struct Arrived {
  std::vector<int64_t> tokens;
  std::optional<Texts::Stream> stream;
  StopText stop;
  std::string text;
  std::optional<ToolError> problem;
};

int32_t collect(int64_t token, void* user) {
  auto* const arrived = static_cast<Arrived*>(user);
  arrived->tokens.push_back(token);
  try {
    if (arrived->stream) arrived->text += arrived->stop.push(arrived->stream->push(token));
  } catch (const ToolError& error) {
    arrived->problem = error;
    return 1;
  }
  return interrupted() || arrived->stop.found() ? 1 : 0;
}

const char* stop_reason_name(int32_t reason) {
  switch (reason) {
    case 0:
      return "length";
    case 1:
      return "stop token";
    default:
      return "callback";
  }
}

}  // namespace

void GenerateOptions::add_to(CLI::App* command) {
  CLI::Option_group* const given = command->add_option_group("prompt");
  given->add_option("--prompt", prompt_text, "Text to continue");
  given->add_option("--prompt-ids", prompt, "Token ids of the prompt: 1,2,3")->delimiter(',');
  given->require_option(1);
  command->add_option("--max-new-tokens", max_new_tokens)->capture_default_str()->check(above_zero());
  command->add_option("--temperature", temperature, "0 = always the likeliest token")
      ->capture_default_str()
      ->check(not_negative());
  command->add_option("--top-p", top_p)->capture_default_str()->check(fraction_above_zero());
  command->add_option("--top-k", top_k, "Keep the most probable tokens; 0 = all")->capture_default_str();
  command->add_option("--min-p", min_p, "Keep tokens at least so probable, as a share of the most probable one")
      ->capture_default_str();
  command
      ->add_option("--repetition-penalty", repetition_penalty, "Makes tokens of the text so far less likely; 1 = off")
      ->capture_default_str();
  command->add_option("--seed", seed)->capture_default_str();
  command->add_option("--stop-ids", stop, "Token ids that end the text (the bundle's)")->delimiter(',');
  command->add_option("--stop", stop_texts, "A string before which the text ends; repeat for more")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->check(not_empty());
}

std::unique_ptr<Texts> GenerateOptions::resolve(const std::string& bundle, const pl_engine* engine) {
  if (!prompt.empty()) return stop_texts.empty() ? Texts::open_if_any(bundle) : Texts::open(bundle);
  std::unique_ptr<Texts> texts = Texts::open(bundle);
  const Json manifest = Json::parse(engine_info(engine).manifest_json);
  prompt = texts->encode_prompt(prompt_text, manifest["model"]["eos_token_ids"].get<std::vector<int64_t>>());
  return texts;
}

Json generate(pl_session* session, const GenerateOptions& options, const Texts* texts) {
  pl_generate_options settings;
  pl_generate_options_init(&settings);
  settings.max_new_tokens = options.max_new_tokens;
  settings.temperature = options.temperature;
  settings.top_p = options.top_p;
  settings.top_k = options.top_k;
  settings.min_p = options.min_p;
  settings.repetition_penalty = options.repetition_penalty;
  settings.seed = options.seed;
  settings.stop_tokens = options.stop.empty() ? nullptr : options.stop.data();
  settings.num_stop_tokens = options.stop.size();
  Arrived arrived = {{}, std::nullopt, StopText(options.stop_texts), "", std::nullopt};
  if (texts != nullptr) arrived.stream.emplace(*texts, options.prompt);
  pl_generate_report report = {};
  report.struct_size = sizeof(report);
  check(pl_session_generate(session, options.prompt.data(), options.prompt.size(), &settings, collect, &arrived,
                            &report));
  if (arrived.problem) throw ToolError(*arrived.problem);
  stop_if_interrupted();
  const double rate = report.decode_seconds > 0 ? static_cast<double>(report.new_tokens) / report.decode_seconds : 0;
  Json result = {{"token_ids", arrived.tokens},
                 {"prompt_tokens", report.prompt_tokens},
                 {"new_tokens", report.new_tokens},
                 {"stop_reason", arrived.stop.found() ? "stop string" : stop_reason_name(report.stop_reason)},
                 {"prefill_seconds", report.prefill_seconds},
                 {"decode_seconds", report.decode_seconds},
                 {"tokens_per_second", rate}};
  if (arrived.stream) {
    arrived.text += arrived.stop.push(arrived.stream->flush());
    result["text"] = arrived.text + arrived.stop.flush();
  }
  return result;
}

}  // namespace pocketlora_run
