#include <map>
#include <memory>
#include <set>
#include <sstream>
#include <string>

#include "commands.h"
#include "events.h"

namespace pocketlora_run {
namespace {

/// Backend → the delegates that its programs need.
Json backends_of(const Json& manifest) {
  std::map<std::string, std::set<std::string>> needed;
  for (const Json& program : manifest["programs"]) {
    auto& delegates = needed[program["backend"]];
    for (const Json& name : program["delegates"]) delegates.insert(name.get<std::string>());
  }
  return needed;
}

void run_info(const BundleOptions& options) {
  const Engine engine = options.open();
  const pl_engine_info info = engine_info(engine.get());
  const Json manifest = Json::parse(info.manifest_json);
  Json bos;
  if (info.bos_token_id >= 0) bos = info.bos_token_id;
  Json delegates = Json::array();
  std::istringstream names(pl_available_delegates());
  for (std::string name; std::getline(names, name, ',');) delegates.push_back(name);
  print_json({{"bundle", options.bundle},
              {"version", pl_version()},
              {"executorch", pl_executorch_version()},
              {"backend", info.backend},
              {"backend_note", info.backend_note},
              {"backends", backends_of(manifest)},
              {"available_delegates", delegates},
              {"model", manifest.value("model", Json::object())},
              {"quantization", manifest.value("quantization", Json::object())},
              {"vocab_size", info.vocab_size},
              {"hidden_size", info.hidden_size},
              {"num_layers", info.num_layers},
              {"max_seq_len", info.max_seq_len},
              {"train_t_max", info.train_t_max},
              {"prefill_t_max", info.prefill_t_max},
              {"max_segments", info.max_segments},
              {"max_rank", info.max_rank},
              {"target_modules", manifest["adapter"]["target_modules"]},
              {"bos_token_id", bos},
              {"base_sha256", info.base_sha256},
              {"base_verified", options.verify},
              {"memory", memory_json(engine_memory(engine.get()))}});
}

}  // namespace

void add_info(CLI::App* app) {
  CLI::App* command = app->add_subcommand("info", "Open a bundle, check it, and print its facts as JSON");
  const auto options = std::make_shared<BundleOptions>();
  options->add_to(command);
  command->callback([options] { run_info(*options); });
}

}  // namespace pocketlora_run
