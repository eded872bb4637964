#include "trainer/artifact.h"

#include "adapters/adapter_checksums.h"
#include "store/atomic_file.h"

namespace pocketlora {
namespace {

using OrderedJson = nlohmann::ordered_json;

constexpr char kArtifactFormat[] = "pocketlora.artifact";
constexpr int64_t kArtifactVersion = 1;
constexpr char kMetadataFile[] = "metadata.json";

/// nlohmann's parser does not fail here: the manifest's reader and parse_json have been over these texts.
OrderedJson parsed(const std::string& text) { return OrderedJson::parse(text, nullptr, false); }

OrderedJson base_facts(const ArtifactSource& source) {
  const AdapterLayout& layout = source.adapter->layout();
  const OrderedJson manifest = parsed(source.manifest->text);
  return {{"name", layout.base_model_name},
          {"sha256", layout.base_sha256},
          {"scheme", manifest.at("quantization").at("scheme")},
          {"tools", manifest.at("generator")}};
}

OrderedJson adapter_facts(const ArtifactSource& source) {
  const AdapterConfig& config = source.adapter->config();
  return {{"step", source.adapter_step},
          {"best", source.best},
          {"rank", config.rank},
          {"alpha", config.alpha},
          {"use_rslora", config.use_rslora},
          {"target_modules", config.target_modules(source.adapter->layout())}};
}

OrderedJson metrics_facts(const ArtifactSource& source) {
  OrderedJson facts = {{"steps", source.steps}, {"skipped_steps", source.skipped_steps}, {"tokens", source.tokens}};
  facts.update(source.metrics->summary());
  return facts;
}

/// As a card shows it: "-" for what is not there.
std::string number(const OrderedJson& value) {
  if (value.is_number_float()) return format("%.4f", value.get<double>());
  return value.is_number() ? std::to_string(value.get<int64_t>()) : "-";
}

std::string training_section(const OrderedJson& metrics) {
  const auto row = [](const std::string& what, const std::string& first, const std::string& last) {
    return "| " + what + " | " + first + " | " + last + " |\n";
  };
  std::string text = "## Training\n\n" + number(metrics["steps"]) + " steps over " + number(metrics["tokens"]) +
                     " tokens. `metadata.json` says with what, `training_metrics.jsonl` has every step, and\n"
                     "`pocketlora-export verify` holds all files to `checksums.json`.\n\n"
                     "| | first | last |\n|---|---|---|\n";
  text += row("training loss", number(metrics["first_loss"]), number(metrics["last_loss"]));
  const OrderedJson& first = metrics["first_validation"];
  if (first.is_null()) return text;
  const OrderedJson& last = metrics["last_validation"];
  text += row("held-out loss", number(first["loss"]), number(last["loss"]));
  return text + row("held-out perplexity", number(first["perplexity"]), number(last["perplexity"]));
}

}  // namespace

Status write_artifact(const ArtifactSource& source, const std::string& dir) {
  PL_ASSIGN_OR_RETURN(const Json run, parse_json(source.run_json, "run_json", PL_INVALID_ARGUMENT));
  if (!run.is_object()) return error(PL_INVALID_ARGUMENT, "run_json: expected an object");
  const OrderedJson metrics = metrics_facts(source);
  const OrderedJson metadata = {
      {"format", kArtifactFormat},  {"version", kArtifactVersion},      {"pocketlora", source.version},
      {"base", base_facts(source)}, {"adapter", adapter_facts(source)}, {"training", source.settings},
      {"metrics", metrics},         {"run", parsed(source.run_json)}};
  PL_ASSIGN_OR_RETURN(AtomicDirectory folder, AtomicDirectory::create(dir));
  PL_RETURN_IF_ERROR(source.adapter->write(&folder, training_section(metrics)));
  const std::string text = metadata.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
  PL_RETURN_IF_ERROR(write_whole_file(folder.add(kMetadataFile), text));
  PL_RETURN_IF_ERROR(write_whole_file(folder.add(kMetricsFile), source.metrics->text()));
  PL_RETURN_IF_ERROR(add_adapter_checksums(&folder));
  return folder.commit();
}

}  // namespace pocketlora
