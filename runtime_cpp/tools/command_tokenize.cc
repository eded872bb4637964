#include <cstdio>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "commands.h"
#include "events.h"
#include "texts.h"

namespace pocketlora_run {
namespace {

struct TokenizeOptions {
  std::string bundle, text;
  std::vector<int64_t> ids;
  bool goldens = false;
  bool plain = false;
};

Json read_goldens(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw ToolError(PL_BUNDLE_MISSING_FILE, path + ": cannot be read");
  const Json manifest = Json::parse(file, nullptr, false);
  const auto pointer = Json::json_pointer("/tokenizer/goldens");
  if (manifest.is_discarded() || !manifest.contains(pointer)) {
    throw ToolError(PL_BUNDLE_CORRUPT, path + ": not a manifest with goldens of a tokenizer");
  }
  return manifest[pointer];
}

// The texts of the manifest give the ids that it says.
void check_goldens(const Texts& texts, const TokenizeOptions& options) {
  const Json goldens = read_goldens(options.bundle + "/manifest.json");
  std::string problems;
  for (const Json& golden : goldens) {
    const Json found = texts.encode(golden["text"].get<std::string>(), true);
    if (found == golden["ids"]) continue;
    problems += "\n  - " + golden["text"].dump() + ": expected ids " + golden["ids"].dump() + ", found " + found.dump();
  }
  if (!problems.empty()) {
    throw ToolError(PL_BUNDLE_MISMATCH, options.bundle + ": its tokenizer differs from its manifest:" + problems);
  }
  print_json({{"goldens", goldens.size()}});
}

void run_tokenize(const TokenizeOptions& options) {
  const std::unique_ptr<Texts> texts = Texts::open(options.bundle);
  if (options.goldens) {
    check_goldens(*texts, options);
  } else if (!options.ids.empty()) {
    Texts::Stream stream(*texts, {});
    std::string text;
    for (const int64_t id : options.ids) text += stream.push(id);
    print_json({{"text", text + stream.flush()}});
  } else {
    print_json({{"token_ids", texts->encode(options.text, !options.plain)}});
  }
}

}  // namespace

void add_tokenize(CLI::App* app) {
  CLI::App* command = app->add_subcommand("tokenize", "Token ids of a text, the text of token ids, or a check of both");
  const auto o = std::make_shared<TokenizeOptions>();
  command->add_option("bundle", o->bundle, "Folder of the bundle")->required();
  CLI::Option_group* what = command->add_option_group("what");
  what->add_option("--text", o->text, "Text to encode");
  what->add_option("--ids", o->ids, "Token ids to decode: 1,2,3")->delimiter(',');
  what->add_flag("--goldens", o->goldens, "Encode the texts of the manifest and compare");
  what->require_option(1);
  command->add_flag("--no-special-tokens", o->plain, "Encode without what is put around a text");
  command->footer("Example: pocketlora_run tokenize out/pocket --text \"Hello, world!\"");
  command->callback([o] { run_tokenize(*o); });
}

}  // namespace pocketlora_run
