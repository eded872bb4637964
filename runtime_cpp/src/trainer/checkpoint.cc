#include "trainer/checkpoint.h"

#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

#include "store/atomic_file.h"
#include "store/mapped_file.h"
#include "store/safetensors.h"
#include "trainer/checkpoint_folder.h"

namespace pocketlora {
namespace {

using Clock = std::chrono::steady_clock;

constexpr char kCheckpointFormat[] = "pocketlora.checkpoint";
constexpr int64_t kCheckpointVersion = 1;
constexpr char kAdapterFile[] = "adapter_model.safetensors";
constexpr char kBestFile[] = "best_model.safetensors";
constexpr char kOptimizerFile[] = "optimizer.safetensors";
constexpr char kTrainingFile[] = "training.json";
constexpr size_t kMaxOptimizerHeader = 64 << 10;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// ---------------------------------------------------------------- writing

std::string training_text(const CheckpointSource& source) {
  const TrainingState& s = source.state;
  nlohmann::ordered_json best = {{"validations", s.best.validations},
                                 {"best_step", s.best.best_step},
                                 {"without_improvement", s.best.without_improvement}};
  if (std::isfinite(s.best.best_loss)) best["best_loss"] = s.best.best_loss;
  if (source.best != nullptr) best["file"] = source.best.get() == source.adapter ? kAdapterFile : kBestFile;
  const nlohmann::ordered_json json = {{"format", kCheckpointFormat},
                                       {"version", kCheckpointVersion},
                                       {"step", s.step},
                                       {"optimizer_steps", s.optimizer_steps},
                                       {"skipped_steps", s.skipped_steps},
                                       {"skipped_in_row", s.skipped_in_row},
                                       {"tokens", s.tokens},
                                       {"learning_rate", as_written(s.learning_rate)},
                                       {"validation", best},
                                       {"settings", source.settings},
                                       {"user_state", source.user_state}};
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

Status write_optimizer(const std::string& path, const Optimizer& optimizer) {
  std::vector<RawTensor> tensors;
  for (const StateVector& vector : optimizer.state()) {
    tensors.push_back({vector.name, vector.dtype, {vector.size}, ByteSpan(vector.data, vector.nbytes())});
  }
  return write_safetensors(path, tensors, {});
}

int64_t bytes_in(const AtomicDirectory& folder) {
  int64_t total = 0;
  for (const std::string& name : folder.names()) {
    struct stat facts = {};
    if (::stat(folder.path_of(name).c_str(), &facts) == 0) total += static_cast<int64_t>(facts.st_size);
  }
  return total;
}

// ---------------------------------------------------------------- reading

/// The events so far; a training that tells of none has no such file.
Status read_metrics(const std::string& path, MetricsLog* metrics) {
  struct stat facts = {};
  if (::stat(path.c_str(), &facts) != 0) return Status();
  PL_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::open(path, PL_INPUT_MALFORMED));
  return metrics->restore(std::string(reinterpret_cast<const char*>(file.data()), file.size()), path);
}

Result<Json> read_json(const std::string& path) {
  PL_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::open(path, PL_INPUT_MALFORMED));
  const std::string_view text(reinterpret_cast<const char*>(file.data()), file.size());
  return parse_json(text, path, PL_INPUT_MALFORMED);
}

struct TrainingFile {
  TrainingState state;
  std::string user_state, best_file;
};

void read_best(const JsonNode& node, TrainingFile* file) {
  BestAdapter::State& best = file->state.best;
  best.validations = node.require_int("validations", 0);
  best.best_step = node.require_int("best_step", 0);
  best.without_improvement = node.require_int("without_improvement", 0);
  best.best_loss = node.optional_number("best_loss", NAN);
  file->best_file = node.optional_string("file", "");
}

Result<TrainingFile> read_training(const Json& json, const std::string& path) {
  ProblemList problems;
  const JsonNode root(json, "", &problems);
  TrainingFile file;
  file.state.step = root.require_int("step", 0);
  file.state.optimizer_steps = root.require_int("optimizer_steps", 0);
  file.state.skipped_steps = root.require_int("skipped_steps", 0);
  file.state.skipped_in_row = root.require_int("skipped_in_row", 0);
  file.state.tokens = root.require_int("tokens", 0);
  file.state.learning_rate = static_cast<float>(root.require_number("learning_rate"));
  file.user_state = root.require_string("user_state");
  read_best(root.require_object("validation"), &file);
  PL_RETURN_IF_ERROR(problems.to_status(PL_INPUT_MALFORMED, path + ": not a checkpoint's training.json"));
  return file;
}

Status check_version(const Json& json, const std::string& path) {
  ProblemList problems;
  const JsonNode root(json, "", &problems);
  const std::string found_format = root.require_string("format");
  const int64_t version = root.require_int("version");
  PL_RETURN_IF_ERROR(problems.to_status(PL_INPUT_MALFORMED, path + ": not a checkpoint's training.json"));
  if (found_format == kCheckpointFormat && version == kCheckpointVersion) return Status();
  return error(PL_INPUT_UNSUPPORTED, "%s: expected %s version %lld, found %s version %lld", path.c_str(),
               kCheckpointFormat, static_cast<long long>(kCheckpointVersion), found_format.c_str(),
               static_cast<long long>(version));
}

/// A value for a message: a long list says nothing to anybody.
std::string shown(const Json& value) {
  const std::string text = value.dump();
  return text.size() > 100 ? "a list of " + std::to_string(value.size()) : text;
}

/// Everything that training went on with then and would not now.
Status check_settings(const Json& expected, const Json& found, const std::string& path) {
  ProblemList problems;
  for (const auto& [key, value] : expected.items()) {
    const auto then = found.find(key);
    if (then == found.end()) {
      problems.add(key + ": " + shown(value) + " now, not known to the checkpoint");
    } else if (*then != value) {
      problems.add(key + ": " + shown(*then) + " in the checkpoint, " + shown(value) + " now");
    }
  }
  for (const auto& [key, value] : found.items()) {
    if (!expected.contains(key)) problems.add(key + ": " + shown(value) + " in the checkpoint, nothing now");
  }
  return problems.to_status(PL_INPUT_MISMATCH, path + ": training cannot go on from it with other settings:");
}

Status check_optimizer(const SafetensorsFile& file, const Optimizer& optimizer) {
  ProblemList problems;
  for (const StateVector& vector : optimizer.state()) {
    const SafetensorsEntry* entry = file.find(vector.name);
    if (entry == nullptr || entry->dtype != vector.dtype || entry->numel != vector.size) {
      problems.addf("%s: expected %lld elements %s", vector.name.c_str(), static_cast<long long>(vector.size),
                    vector.dtype);
    }
  }
  return problems.to_status(PL_INPUT_MISMATCH, file.path() + ": not the state of this optimizer");
}

Result<CheckpointContents> read_one(const std::string& path, const std::shared_ptr<const AdapterLayout>& layout,
                                    const Json& settings, Optimizer* optimizer) {
  const std::string training = path + "/" + kTrainingFile;
  PL_ASSIGN_OR_RETURN(const Json json, read_json(training));
  PL_RETURN_IF_ERROR(check_version(json, training));
  PL_RETURN_IF_ERROR(check_settings(settings, json.value("settings", Json::object()), path));
  PL_ASSIGN_OR_RETURN(const TrainingFile file, read_training(json, training));
  CheckpointContents contents;
  contents.state = file.state;
  contents.facts.step = file.state.step;
  contents.facts.path = path;
  contents.facts.user_state = file.user_state;
  PL_RETURN_IF_ERROR(read_metrics(path + "/" + kMetricsFile, &contents.metrics));
  PL_ASSIGN_OR_RETURN(contents.adapter, Adapter::load(layout, path));
  if (file.best_file == kAdapterFile) contents.best = contents.adapter;
  if (file.best_file == kBestFile) {
    PL_ASSIGN_OR_RETURN(contents.best,
                        Adapter::load_tensors(layout, contents.adapter->config(), path + "/" + kBestFile));
  }
  PL_ASSIGN_OR_RETURN(
      const SafetensorsFile state,
      SafetensorsFile::open(path + "/" + kOptimizerFile, PL_INPUT_MALFORMED, PL_INPUT_MALFORMED, kMaxOptimizerHeader));
  PL_RETURN_IF_ERROR(check_optimizer(state, *optimizer));
  for (const StateVector& vector : optimizer->state()) {
    const ByteSpan data = state.find(vector.name)->data;
    std::copy(data.begin(), data.end(), vector.data);
  }
  optimizer->set_steps(file.state.optimizer_steps);
  return contents;
}

}  // namespace

Result<CheckpointFacts> write_checkpoint(const CheckpointSource& source, const std::string& dir, int64_t keep) {
  const Clock::time_point start = Clock::now();
  PL_ASSIGN_OR_RETURN(const CheckpointFolder folder, CheckpointFolder::open(dir, true));
  folder.remove_leftovers();
  CheckpointFacts facts;
  facts.step = source.state.step;
  facts.path = folder.path_of(source.state.step);
  facts.user_state = source.user_state;
  PL_ASSIGN_OR_RETURN(AtomicDirectory files, AtomicDirectory::create(facts.path));
  PL_RETURN_IF_ERROR(source.adapter->write(&files));
  if (source.best != nullptr && source.best.get() != source.adapter) {
    PL_RETURN_IF_ERROR(source.best->write_tensors(files.add(kBestFile)));
  }
  PL_RETURN_IF_ERROR(write_optimizer(files.add(kOptimizerFile), *source.optimizer));
  PL_RETURN_IF_ERROR(write_whole_file(files.add(kTrainingFile), training_text(source)));
  if (!source.metrics.empty()) PL_RETURN_IF_ERROR(write_whole_file(files.add(kMetricsFile), source.metrics));
  PL_RETURN_IF_ERROR(add_checksums(&files));
  facts.nbytes = bytes_in(files);
  PL_RETURN_IF_ERROR(files.commit());
  folder.prune(source.state.step, keep);
  facts.seconds = seconds_since(start);
  return facts;
}

Result<CheckpointContents> read_checkpoint(const std::string& dir, const std::shared_ptr<const AdapterLayout>& layout,
                                           const Json& settings, Optimizer* optimizer) {
  const Clock::time_point start = Clock::now();
  PL_ASSIGN_OR_RETURN(const CheckpointFolder folder, CheckpointFolder::open(dir, false));
  PL_ASSIGN_OR_RETURN(const std::vector<int64_t> steps, folder.steps());
  if (steps.empty()) return error(PL_INPUT_MISSING, "checkpoint folder '%s': there is no checkpoint", dir.c_str());
  std::vector<std::string> skipped;
  for (const int64_t step : steps) {
    const std::string path = folder.path_of(step);
    const Status whole = verify_checksums(path, {kAdapterFile, kOptimizerFile, kTrainingFile});
    if (!whole.ok()) {
      skipped.push_back(whole.message());
      continue;
    }
    PL_ASSIGN_OR_RETURN(CheckpointContents contents, read_one(path, layout, settings, optimizer));
    contents.facts.skipped = std::move(skipped);
    contents.facts.seconds = seconds_since(start);
    return contents;
  }
  ProblemList problems;
  for (std::string& problem : skipped) problems.add(std::move(problem));
  return problems.to_status(PL_INPUT_MALFORMED, "checkpoint folder '" + dir + "': every checkpoint is damaged");
}

}  // namespace pocketlora
