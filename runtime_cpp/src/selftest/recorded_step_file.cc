#include "selftest/recorded_step_file.h"

#include <algorithm>

#include "common/json_access.h"
#include "store/mapped_file.h"

namespace pocketlora {
namespace {

constexpr const char* kFormat = "pocketlora.self-test";
constexpr int64_t kVersion = 1;

std::vector<double> numbers(const JsonNode& node, const char* key) {
  std::vector<double> values;
  for (const JsonNode& element : node.require_array(key)) values.push_back(element.as_number());
  return values;
}

SelfTestInput parse_input(const JsonNode& node) {
  SelfTestInput input;
  input.tokens = node.require_ints("tokens");
  input.segments = node.require_ints("segments");
  input.rank = node.require_int("rank", 1);
  input.seed = static_cast<uint64_t>(node.require_int("seed", 0));
  return input;
}

SelfTestOutcome parse_outcome(const JsonNode& node) {
  SelfTestOutcome outcome;
  outcome.loss = node.require_number("loss");
  outcome.gradient_norms = numbers(node, "gradient_norms");
  outcome.prefill_norm = node.require_number("prefill_norm");
  outcome.prefill_logits = numbers(node, "prefill_logits");
  outcome.decode_norm = node.require_number("decode_norm");
  outcome.decode_logits = numbers(node, "decode_logits");
  return outcome;
}

}  // namespace

bool has_self_test(const Manifest& manifest) {
  return std::any_of(manifest.files.begin(), manifest.files.end(),
                     [](const FileSpec& file) { return file.path == kSelfTestFile; });
}

Result<SelfTestRecord> parse_self_test(const std::string& text, const std::string& path) {
  PL_ASSIGN_OR_RETURN(const Json json, parse_json(text, path, PL_BUNDLE_CORRUPT));
  ProblemList problems;
  const JsonNode root(json, "", &problems);
  const std::string format = root.require_string("format");
  const int64_t version = root.require_int("version", 1);
  PL_RETURN_IF_ERROR(problems.to_status(PL_BUNDLE_CORRUPT, path + ":"));
  if (format != kFormat)
    return error(PL_BUNDLE_CORRUPT, "%s: expected format %s, found %s", path.c_str(), kFormat, format.c_str());
  if (version != kVersion) {
    return error(PL_BUNDLE_VERSION, "%s: expected version %lld, found %lld: it needs a later runtime", path.c_str(),
                 static_cast<long long>(kVersion), static_cast<long long>(version));
  }
  SelfTestRecord record{parse_input(root.require_object("input")), parse_outcome(root.require_object("outcome"))};
  PL_RETURN_IF_ERROR(problems.to_status(PL_BUNDLE_CORRUPT, path + ":"));
  return record;
}

Result<SelfTestRecord> read_self_test(const Bundle& bundle) {
  const std::string path = bundle.path(kSelfTestFile);
  if (!has_self_test(bundle.manifest())) {
    return error(PL_INVALID_STATE, "bundle '%s' has no recorded step (%s): export it again", bundle.dir().c_str(),
                 kSelfTestFile);
  }
  PL_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::open(path, PL_BUNDLE_MISSING_FILE));
  return parse_self_test(std::string(reinterpret_cast<const char*>(file.data()), file.size()), path);
}

std::string self_test_text(const SelfTestRecord& record) {
  const SelfTestInput& input = record.input;
  const SelfTestOutcome& outcome = record.outcome;
  const Json json = {
      {"format", kFormat},
      {"version", kVersion},
      {"input", {{"tokens", input.tokens}, {"segments", input.segments}, {"rank", input.rank}, {"seed", input.seed}}},
      {"outcome",
       {{"loss", outcome.loss},
        {"gradient_norms", outcome.gradient_norms},
        {"prefill_norm", outcome.prefill_norm},
        {"prefill_logits", outcome.prefill_logits},
        {"decode_norm", outcome.decode_norm},
        {"decode_logits", outcome.decode_logits}}}};
  return json.dump(1) + "\n";
}

}  // namespace pocketlora
