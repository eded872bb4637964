#include "run_facts.h"

#include <algorithm>
#include <array>
#include <ctime>
#include <filesystem>

#include "tool_error.h"
#include "train_options.h"

namespace pocketlora_run {
namespace {

constexpr size_t kHexSize = 65;

std::string sha256(const std::string& path) {
  std::array<char, kHexSize> hex = {};
  check(pl_file_sha256(path.c_str(), hex.data()));
  return hex.data();
}

std::string file_name(const std::string& path) { return std::filesystem::path(path).filename().string(); }

/// ISO 8601, in UTC.
std::string utc(int64_t seconds) {
  const auto time = static_cast<std::time_t>(seconds);
  std::tm parts = {};
  gmtime_r(&time, &parts);
  std::array<char, 32> text = {};
  std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text.data();
}

Json null_unless(bool given, const Json& value) { return given ? value : Json(); }

Json init_adapter(const std::string& dir) {
  if (dir.empty()) return {};
  return {{"name", file_name(dir)}, {"sha256", sha256(dir + "/adapter_model.safetensors")}};
}

Json options_json(const TrainOptions& o, int64_t steps) {
  return {{"iters", steps},
          {"epochs", null_unless(o.epochs > 0, o.epochs)},
          {"batch_size", o.batch_size},
          {"grad_accumulation_steps", o.accumulation},
          {"truncate", false},
          {"train_on_prompt", false},
          {"eval_every", null_unless(o.eval_every > 0, o.eval_every)},
          {"patience", null_unless(o.patience > 0, o.patience)},
          {"keep_best", o.saves_best()},
          {"max_skipped_steps", o.max_skipped_steps},
          {"memory_limit", null_unless(o.bundle.memory_limit > 0, o.bundle.memory_limit)},
          {"backend", o.bundle.backend},
          {"threads", o.bundle.threads}};
}

}  // namespace

RunFacts::RunFacts() : started_(static_cast<int64_t>(std::time(nullptr))) {}

void RunFacts::add_data(const std::string& role, const std::string& path, const std::vector<Row>& rows) {
  int64_t tokens = 0, labels = 0;
  for (const Row& row : rows) {
    tokens += static_cast<int64_t>(row.tokens.size());
    labels += std::count_if(row.labels.begin(), row.labels.end(), [](int64_t label) { return label != kIgnored; });
  }
  data_.push_back({{"role", role},
                   {"name", file_name(path)},
                   {"sha256", sha256(path)},
                   {"bytes", std::filesystem::file_size(path)},
                   {"rows", rows.size()},
                   {"tokens", tokens},
                   {"labels", labels},
                   {"truncated", 0}});
}

std::string RunFacts::text(const TrainOptions& options, int64_t steps) const {
  const Json run = {{"tool", "pocketlora_run train"},
                    {"started", utc(started_)},
                    {"finished", utc(static_cast<int64_t>(std::time(nullptr)))},
                    {"data", data_},
                    {"options", options_json(options, steps)},
                    {"init_adapter", init_adapter(options.init_adapter)},
                    {"resumed_from", resumed_from_},
                    {"base_verified", base_verified_}};
  return run.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace pocketlora_run
