#include "common/json_access.h"

#include <string>
#include <utility>
#include <vector>

namespace pocketlora {
namespace {

// Builds the document in one pass. nlohmann's own builder does not report, without exceptions, where the syntax breaks,
// and takes the last of several equal keys.
class Builder final : public nlohmann::json_sax<Json> {
 public:
  bool null() override { return put(nullptr); }
  bool boolean(bool value) override { return put(value); }
  bool number_integer(number_integer_t value) override { return put(value); }
  bool number_unsigned(number_unsigned_t value) override { return put(value); }
  bool number_float(number_float_t value, const string_t&) override { return put(value); }
  bool string(string_t& value) override { return put(std::move(value)); }
  bool binary(binary_t& value) override { return put(std::move(value)); }
  bool start_object(size_t) override { return open(Json::object()); }
  bool start_array(size_t) override { return open(Json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(string_t& name) override {
    const auto [member, fresh] = open_.back()->get_ref<Json::object_t&>().try_emplace(std::move(name));
    member_ = &member->second;
    if (!fresh) problem_ = "the key \"" + member->first + "\" is given twice";
    return fresh;
  }
  bool parse_error(size_t, const std::string&, const nlohmann::detail::exception& exception) override {
    problem_ = exception.what();
    // "[json.exception.parse_error.101] parse error at line 1, column 2: ...": the bracket says nothing to a user.
    const size_t bracket = problem_.find("] ");
    if (bracket != std::string::npos) problem_.erase(0, bracket + 2);
    return false;
  }

  const std::string& problem() const { return problem_; }
  Json& document() { return document_; }

 private:
  template <typename Value>
  bool put(Value&& value) {
    place(Json(std::forward<Value>(value)));
    return true;
  }
  bool open(Json container) {
    open_.push_back(place(std::move(container)));
    return true;
  }
  bool close() {
    open_.pop_back();
    return true;
  }
  Json* place(Json value) {
    if (!open_.empty() && open_.back()->is_array()) {
      open_.back()->push_back(std::move(value));
      return &open_.back()->back();
    }
    Json* target = open_.empty() ? &document_ : member_;
    *target = std::move(value);
    return target;
  }

  Json document_;
  std::vector<Json*> open_;  ///< each the last element, or a member, of the one before: none moves while it is here
  Json* member_ = nullptr;   ///< of the innermost object
  std::string problem_;
};

const char* type_of(const Json& value) {
  if (value.is_number_float()) return "a number with a fraction";
  if (value.is_number()) return "an integer";
  if (value.is_string()) return "a string";
  if (value.is_boolean()) return "a boolean";
  if (value.is_array()) return "an array";
  if (value.is_object()) return "an object";
  return "null";
}

bool to_int64(const Json& value, int64_t* out) {
  if (!value.is_number_integer()) return false;
  if (value.is_number_unsigned() &&
      value.get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
    return false;
  }
  *out = value.get<int64_t>();
  return true;
}

}  // namespace

Result<Json> parse_json(std::string_view text, const std::string& what, pl_status malformed) {
  Builder builder;
  if (!Json::sax_parse(text.begin(), text.end(), &builder)) {
    return Status(malformed, what + ": not valid JSON: " + builder.problem());
  }
  return std::move(builder.document());
}

bool JsonNode::has(const char* key) const { return find(key) != nullptr; }

const Json* JsonNode::find(const char* key) const {
  if (!value_->is_object()) return nullptr;
  const auto found = value_->find(key);
  return found == value_->end() || found->is_null() ? nullptr : &*found;
}

JsonNode JsonNode::child(const char* key) const {
  static const Json kNull;
  const Json* found = find(key);
  return JsonNode(found == nullptr ? kNull : *found, path_.empty() ? key : path_ + "." + key, problems_);
}

void JsonNode::wrong_type(const char* expected) const {
  const std::string where = path_.empty() ? "the document" : path_;
  if (value_->is_null()) {
    problems_->add(where + ": expected " + expected + ", found nothing");
  } else {
    problems_->add(where + ": expected " + expected + ", found " + type_of(*value_));
  }
}

int64_t JsonNode::as_int(int64_t minimum, int64_t maximum) const {
  int64_t value = 0;
  if (!to_int64(*value_, &value)) {
    wrong_type("a 64-bit integer");
    return minimum > 0 ? minimum : 0;
  }
  if (value >= minimum && value <= maximum) return value;
  problems_->addf("%s: expected at least %lld and at most %lld, found %lld", path_.c_str(),
                  static_cast<long long>(minimum), static_cast<long long>(maximum), static_cast<long long>(value));
  return minimum;
}

double JsonNode::as_number() const {
  if (value_->is_number()) return value_->get<double>();
  wrong_type("a number");
  return 0;
}

bool JsonNode::as_bool() const {
  if (value_->is_boolean()) return value_->get<bool>();
  wrong_type("a boolean");
  return false;
}

std::string JsonNode::as_string() const {
  if (value_->is_string()) return value_->get<std::string>();
  wrong_type("a string");
  return {};
}

std::vector<JsonNode> JsonNode::elements() const {
  std::vector<JsonNode> nodes;
  if (!value_->is_array()) return nodes;
  nodes.reserve(value_->size());
  for (size_t i = 0; i < value_->size(); ++i) {
    nodes.emplace_back((*value_)[i], path_ + "[" + std::to_string(i) + "]", problems_);
  }
  return nodes;
}

std::vector<std::pair<std::string, JsonNode>> JsonNode::members() const {
  std::vector<std::pair<std::string, JsonNode>> nodes;
  if (!value_->is_object()) return nodes;
  for (auto member = value_->begin(); member != value_->end(); ++member) {
    nodes.emplace_back(member.key(),
                       JsonNode(member.value(), path_.empty() ? member.key() : path_ + "." + member.key(), problems_));
  }
  return nodes;
}

int64_t JsonNode::require_int(const char* key, int64_t minimum, int64_t maximum) const {
  return child(key).as_int(minimum, maximum);
}

double JsonNode::require_number(const char* key) const { return child(key).as_number(); }
bool JsonNode::require_bool(const char* key) const { return child(key).as_bool(); }
std::string JsonNode::require_string(const char* key) const { return child(key).as_string(); }

JsonNode JsonNode::require_object(const char* key) const {
  JsonNode node = child(key);
  if (!node.value_->is_object()) node.wrong_type("an object");
  return node;
}

std::vector<JsonNode> JsonNode::require_array(const char* key) const {
  const JsonNode node = child(key);
  if (!node.value_->is_array()) node.wrong_type("an array");
  return node.elements();
}

std::vector<std::string> JsonNode::require_strings(const char* key) const {
  std::vector<std::string> values;
  for (const JsonNode& node : require_array(key)) values.push_back(node.as_string());
  return values;
}

std::vector<int64_t> JsonNode::require_ints(const char* key) const {
  std::vector<int64_t> values;
  for (const JsonNode& node : require_array(key)) values.push_back(node.as_int());
  return values;
}

int64_t JsonNode::optional_int(const char* key, int64_t otherwise) const {
  return has(key) ? child(key).as_int() : otherwise;
}

double JsonNode::optional_number(const char* key, double otherwise) const {
  return has(key) ? child(key).as_number() : otherwise;
}

bool JsonNode::optional_bool(const char* key, bool otherwise) const {
  return has(key) ? child(key).as_bool() : otherwise;
}

std::string JsonNode::optional_string(const char* key, const std::string& otherwise) const {
  return has(key) ? child(key).as_string() : otherwise;
}

}  // namespace pocketlora
