#include "generation.h"

#include "interrupt.h"
#include "validators.h"

namespace pocketlora_run {
namespace {

int32_t collect(int64_t token, void* user) {
  static_cast<std::vector<int64_t>*>(user)->push_back(token);
  return interrupted() ? 1 : 0;
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
  command->add_option("--prompt-ids", prompt, "Token ids of the prompt: 1,2,3")->required()->delimiter(',');
  command->add_option("--max-new-tokens", max_new_tokens)->capture_default_str()->check(above_zero());
  command->add_option("--temperature", temperature, "0 = always the likeliest token")
      ->capture_default_str()
      ->check(not_negative());
  command->add_option("--top-p", top_p)->capture_default_str()->check(fraction_above_zero());
  command->add_option("--seed", seed)->capture_default_str();
  command->add_option("--stop-ids", stop, "Token ids that end the text (the bundle's)")->delimiter(',');
}

Json generate(pl_session* session, const GenerateOptions& options) {
  pl_generate_options settings;
  pl_generate_options_init(&settings);
  settings.max_new_tokens = options.max_new_tokens;
  settings.temperature = options.temperature;
  settings.top_p = options.top_p;
  settings.seed = options.seed;
  settings.stop_tokens = options.stop.empty() ? nullptr : options.stop.data();
  settings.num_stop_tokens = options.stop.size();
  std::vector<int64_t> tokens;
  pl_generate_report report = {};
  report.struct_size = sizeof(report);
  check(
      pl_session_generate(session, options.prompt.data(), options.prompt.size(), &settings, collect, &tokens, &report));
  stop_if_interrupted();
  const double rate = report.decode_seconds > 0 ? static_cast<double>(report.new_tokens) / report.decode_seconds : 0;
  return {{"token_ids", tokens},
          {"prompt_tokens", report.prompt_tokens},
          {"new_tokens", report.new_tokens},
          {"stop_reason", stop_reason_name(report.stop_reason)},
          {"prefill_seconds", report.prefill_seconds},
          {"decode_seconds", report.decode_seconds},
          {"tokens_per_second", rate}};
}

}  // namespace pocketlora_run
