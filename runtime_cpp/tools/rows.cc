#include "rows.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "tool_error.h"

namespace pocketlora_run {
namespace {

using nlohmann::json;

constexpr size_t kShownProblems = 20;

// One complaint about one row.
struct BadRow {
  pl_status code;
  std::string message;
};

[[noreturn]] void malformed(const std::string& message) { throw BadRow{PL_INPUT_MALFORMED, message}; }

json parse_object(const std::string& line) {
  json value;
  try {
    value = json::parse(line);
  } catch (const json::parse_error& error) {
    const std::string what = error.what();
    const size_t bracket = what.find("] ");
    malformed("not JSON: " + (bracket == std::string::npos ? what : what.substr(bracket + 2)));
  }
  if (!value.is_object()) malformed(std::string("expected a JSON object, found ") + value.type_name());
  return value;
}

void check_keys(const json& row, const std::set<std::string>& keys, const char* form) {
  for (const auto& member : row.items()) {
    if (keys.count(member.key()) == 0) malformed("unknown key '" + member.key() + "'; a row is " + form);
  }
}

std::vector<int64_t> integers(const json& row, const char* key) {
  const auto found = row.find(key);
  if (found == row.end()) malformed(std::string("'") + key + "' is missing");
  if (!found->is_array()) malformed(std::string("expected '") + key + "' to be a list, found " + found->type_name());
  std::vector<int64_t> values;
  for (const json& element : *found) {
    const bool fits = element.is_number_integer() &&
                      (!element.is_number_unsigned() || element.get<uint64_t>() <= static_cast<uint64_t>(INT64_MAX));
    if (!fits) {
      malformed(std::string(key) + "[" + std::to_string(values.size()) + "]: expected an integer, found " +
                element.dump());
    }
    values.push_back(element.get<int64_t>());
  }
  return values;
}

void check_tokens(const Row& row, const RowLimits& limits) {
  const auto length = static_cast<int64_t>(row.tokens.size());
  if (length < 2) malformed("expected at least 2 tokens, found " + std::to_string(length));
  if (length > limits.max_tokens) {
    throw BadRow{PL_SEQUENCE_TOO_LONG, "the row has " + std::to_string(length) +
                                           " tokens, the bundle was exported for at most " +
                                           std::to_string(limits.max_tokens)};
  }
  for (size_t i = 0; i < row.tokens.size(); ++i) {
    if (row.tokens[i] < 0 || row.tokens[i] >= limits.vocab_size) {
      malformed("token_ids[" + std::to_string(i) + "]: expected 0 to " + std::to_string(limits.vocab_size - 1) +
                ", found " + std::to_string(row.tokens[i]));
    }
  }
}

void check_labels(const Row& row) {
  if (row.labels.size() != row.tokens.size()) {
    malformed("expected as many labels as token_ids (" + std::to_string(row.tokens.size()) + "), found " +
              std::to_string(row.labels.size()));
  }
  for (size_t i = 0; i < row.labels.size(); ++i) {
    if (row.labels[i] != kIgnored && row.labels[i] != row.tokens[i]) {
      malformed("labels[" + std::to_string(i) + "]: expected the token (" + std::to_string(row.tokens[i]) +
                ") or -100, found " + std::to_string(row.labels[i]));
    }
  }
}

void check_lengths(const Row& row, const RowLimits& limits) {
  int64_t sum = 0;
  const auto total = static_cast<int64_t>(row.tokens.size());
  for (size_t i = 0; i < row.lengths.size(); ++i) {
    if (row.lengths[i] < 2 || row.lengths[i] > total) {
      malformed("lengths[" + std::to_string(i) + "]: expected 2 to " + std::to_string(total) + " tokens, found " +
                std::to_string(row.lengths[i]));
    }
    sum += row.lengths[i];
  }
  if (sum != total) {
    malformed("expected 'lengths' to add up to the " + std::to_string(total) + " token_ids, found " +
              std::to_string(sum));
  }
  if (static_cast<int64_t>(row.lengths.size()) > limits.max_segments) {
    malformed(std::to_string(row.lengths.size()) + " rows are packed into one, the bundle was exported for at most " +
              std::to_string(limits.max_segments));
  }
}

// Nothing comes before the first token of a row, so it is never learned.
void check_targets(const Row& row) {
  std::set<size_t> firsts = {0};
  size_t begin = 0;
  for (const int64_t length : row.lengths) firsts.insert(begin += static_cast<size_t>(length));
  for (size_t i = 0; i < row.labels.size(); ++i) {
    if (row.labels[i] != kIgnored && firsts.count(i) == 0) return;
  }
  malformed("no token to learn from: all labels after the first are -100");
}

Row parse_tokens(const json& value, const RowLimits& limits) {
  check_keys(value, {"token_ids", "labels", "lengths"}, "{\"token_ids\": [...], \"labels\": [...]}");
  Row row;
  row.tokens = integers(value, "token_ids");
  check_tokens(row, limits);
  row.labels = value.contains("labels") ? integers(value, "labels") : row.tokens;
  check_labels(row);
  if (value.contains("lengths")) {
    row.lengths = integers(value, "lengths");
    check_lengths(row, limits);
  }
  check_targets(row);
  return row;
}

Row parse_answer(const json& pair, const char* key, const RowLimits& limits) {
  const auto found = pair.find(key);
  if (found == pair.end()) malformed(std::string("'") + key + "' is missing");
  try {
    if (!found->is_object()) malformed(std::string("expected an object with 'token_ids', found ") + found->type_name());
    if (found->contains("lengths")) malformed("expected one row, found 'lengths'");
    return parse_tokens(*found, limits);
  } catch (const BadRow& bad) {
    throw BadRow{bad.code, std::string(key) + ": " + bad.message};
  }
}

Row parse_pair(const json& value, const RowLimits& limits) {
  check_keys(value, {"chosen", "rejected"},
             "{\"chosen\": {\"token_ids\": [...], \"labels\": [...]}, \"rejected\": {...}}");
  Row row = parse_answer(value, "chosen", limits);
  const Row rejected = parse_answer(value, "rejected", limits);
  row.lengths = {static_cast<int64_t>(row.tokens.size()), static_cast<int64_t>(rejected.tokens.size())};
  row.tokens.insert(row.tokens.end(), rejected.tokens.begin(), rejected.tokens.end());
  row.labels.insert(row.labels.end(), rejected.labels.begin(), rejected.labels.end());
  return row;
}

Row parse_row(const std::string& line, const RowLimits& limits) {
  const json value = parse_object(line);
  const bool pair = value.contains("chosen") || value.contains("rejected");
  if (!pair && limits.preferences) {
    malformed("expected a row of a preference, with 'chosen' and 'rejected' (--loss dpo)");
  }
  if (pair && !limits.preferences) {
    malformed("a row of a preference, with 'chosen' and 'rejected': only train --loss dpo takes it");
  }
  return pair ? parse_pair(value, limits) : parse_tokens(value, limits);
}

void open_rows(const std::string& path, std::ifstream* file) {
  struct stat facts = {};
  const bool exists = ::stat(path.c_str(), &facts) == 0;
  if (!exists || S_ISDIR(facts.st_mode)) {
    throw ToolError(PL_INPUT_MISSING, path + ": expected a JSONL file, found " + (exists ? "a folder" : "nothing"));
  }
  file->open(path, std::ios::binary);
  if (!*file) throw ToolError(PL_IO_READ, path + ": cannot be read: " + std::strerror(errno));
}

void fail_if_any(const std::vector<std::string>& problems, const std::set<pl_status>& codes) {
  if (problems.empty()) return;
  const pl_status code = codes.size() == 1 ? *codes.begin() : PL_INPUT_MALFORMED;
  if (problems.size() == 1) throw ToolError(code, problems[0]);
  std::string message = std::to_string(problems.size()) + " rows cannot be used:";
  for (size_t i = 0; i < std::min(problems.size(), kShownProblems); ++i) message += "\n  - " + problems[i];
  if (problems.size() > kShownProblems) {
    message += "\n  ... and " + std::to_string(problems.size() - kShownProblems) + " more";
  }
  throw ToolError(code, message);
}

}  // namespace

std::vector<Row> read_rows(const std::string& path, const RowLimits& limits) {
  std::ifstream file;
  open_rows(path, &file);
  std::vector<Row> rows;
  std::vector<std::string> problems;
  std::set<pl_status> codes;
  std::string line;
  for (size_t number = 1; std::getline(file, line); ++number) {
    if (line.find_first_not_of(" \t\r\n\f\v") == std::string::npos) continue;
    try {
      rows.push_back(parse_row(line, limits));
    } catch (const BadRow& bad) {
      problems.push_back(path + ":" + std::to_string(number) + ": " + bad.message);
      codes.insert(bad.code);
    }
  }
  if (file.bad()) throw ToolError(PL_IO_READ, path + ": cannot be read");
  fail_if_any(problems, codes);
  if (rows.empty()) {
    throw ToolError(PL_INPUT_MALFORMED,
                    path + ": no rows; expected one JSON object a line, {\"token_ids\": [1, 2, 3]}");
  }
  return rows;
}

}  // namespace pocketlora_run
