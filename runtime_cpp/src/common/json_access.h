#pragma once

#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "common/result.h"

namespace pocketlora {

using Json = nlohmann::json;

/// Parses JSON strictly: syntax errors carry line and column, a key given twice in one object is refused.
/// @param what named in the message, usually the file's path. @param malformed the code of a failure.
Result<Json> parse_json(std::string_view text, const std::string& what, pl_status malformed);

/// Typed, exception-free access to a JSON value. Every failure adds a problem that names the value's path
/// ("model.hidden_size: expected an integer, found a string") and returns a default, so that a reader states what it
/// wants line by line and checks the ProblemList once. Refers to the Json and the ProblemList: both must outlive it.
class JsonNode {
 public:
  /// @param path prefix of all names, "" for a document's root.
  JsonNode(const Json& value, std::string path, ProblemList* problems)
      : value_(&value), path_(std::move(path)), problems_(problems) {}

  const Json& json() const { return *value_; }
  const std::string& path() const { return path_; }

  /// Whether the key is there and not null.
  bool has(const char* key) const;

  /// Required members of an object.
  int64_t require_int(const char* key, int64_t minimum = std::numeric_limits<int64_t>::min(),
                      int64_t maximum = std::numeric_limits<int64_t>::max()) const;
  double require_number(const char* key) const;
  bool require_bool(const char* key) const;
  std::string require_string(const char* key) const;
  JsonNode require_object(const char* key) const;
  std::vector<JsonNode> require_array(const char* key) const;
  std::vector<std::string> require_strings(const char* key) const;
  std::vector<int64_t> require_ints(const char* key) const;

  /// Optional members: absent or null gives the default, a wrong type is a problem.
  int64_t optional_int(const char* key, int64_t otherwise) const;
  double optional_number(const char* key, double otherwise) const;
  bool optional_bool(const char* key, bool otherwise) const;
  std::string optional_string(const char* key, const std::string& otherwise) const;

  /// The members of an object in key order, the elements of an array. Empty for anything else.
  std::vector<std::pair<std::string, JsonNode>> members() const;
  std::vector<JsonNode> elements() const;

  /// This value itself, checked.
  int64_t as_int(int64_t minimum = std::numeric_limits<int64_t>::min(),
                 int64_t maximum = std::numeric_limits<int64_t>::max()) const;
  double as_number() const;
  bool as_bool() const;
  std::string as_string() const;

 private:
  const Json* find(const char* key) const;
  JsonNode child(const char* key) const;
  void wrong_type(const char* expected) const;

  const Json* value_;
  std::string path_;
  ProblemList* problems_;
};

}  // namespace pocketlora
