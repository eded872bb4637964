#include "trainer/metrics_log.h"

#include <utility>

namespace pocketlora {
namespace {

Json member(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() ? Json() : *found;
}

bool below(const Json& loss, const Json& other) {
  if (!loss.is_number()) return false;
  return !other.is_number() || loss.get<double>() < other.get<double>();
}

}  // namespace

Status MetricsLog::add(const std::string& line) {
  if (line.find('\n') != std::string::npos) return error(PL_INVALID_ARGUMENT, "event: expected one line, found more");
  PL_ASSIGN_OR_RETURN(const Json event, parse_json(line, "event", PL_INVALID_ARGUMENT));
  ProblemList problems;
  const JsonNode node(event, "", &problems);
  const std::string kind = node.require_string("event");
  const int64_t step = kind == "progress" ? node.require_int("step", last_step_ + 1) : last_step_;
  PL_RETURN_IF_ERROR(
      problems.to_status(PL_INVALID_ARGUMENT, "not an event that can follow step " + std::to_string(last_step_) + ":"));
  last_step_ = step;
  lines_.push_back(line);
  note(event, kind);
  return Status();
}

void MetricsLog::note(const Json& event, const std::string& kind) {
  if (kind == "progress") {
    last_loss_ = member(event, "loss");
    if (!std::exchange(has_loss_, true)) first_loss_ = last_loss_;
  } else if (kind == "validation") {
    Json found = Json::object();
    for (const char* key : {"step", "loss", "perplexity"}) found[key] = member(event, key);
    if (first_validation_.is_null()) first_validation_ = found;
    if (best_validation_.is_null() || below(found["loss"], best_validation_["loss"])) best_validation_ = found;
    last_validation_ = std::move(found);
  }
}

Status MetricsLog::restore(const std::string& text, const std::string& path) {
  MetricsLog fresh;
  for (size_t begin = 0; begin < text.size();) {
    size_t end = text.find('\n', begin);
    if (end == std::string::npos) end = text.size();
    const Status added = fresh.add(text.substr(begin, end - begin));
    if (!added.ok()) {
      return error(PL_INPUT_MALFORMED, "%s:%zu: %s", path.c_str(), fresh.lines_.size() + 1, added.message().c_str());
    }
    begin = end + 1;
  }
  *this = std::move(fresh);
  return Status();
}

std::string MetricsLog::text() const {
  std::string text;
  for (const std::string& line : lines_) text += line + "\n";
  return text;
}

nlohmann::ordered_json MetricsLog::summary() const {
  return {{"first_loss", first_loss_},
          {"last_loss", last_loss_},
          {"first_validation", first_validation_},
          {"last_validation", last_validation_},
          {"best_validation", best_validation_}};
}

}  // namespace pocketlora
