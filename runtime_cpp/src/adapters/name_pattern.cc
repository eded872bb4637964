#include "adapters/name_pattern.h"

namespace pocketlora {
namespace {

constexpr char kAny = '\0';

// In a regular expression these stand for themselves; letters and digits of the C locale only.
bool is_literal(char c) {
  return c == '_' || c == '-' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

}  // namespace

std::optional<NamePattern> NamePattern::parse(const std::string& key) {
  NamePattern pattern;
  pattern.anchored_ = !key.empty() && key.front() == '^';
  for (size_t i = pattern.anchored_ ? 1 : 0; i < key.size(); ++i) {
    if (is_literal(key[i])) {
      pattern.characters_ += key[i];
    } else if (key[i] == '.') {
      pattern.characters_ += kAny;
    } else if (key[i] == '\\' && i + 1 < key.size() && key[i + 1] == '.') {
      pattern.characters_ += key[++i];
    } else if (key[i] != '$' || i + 1 < key.size()) {
      return std::nullopt;
    }
  }
  if (pattern.characters_.empty()) return std::nullopt;
  return pattern;
}

bool NamePattern::matches(const std::string& site) const {
  if (site.size() < characters_.size()) return false;
  const size_t start = site.size() - characters_.size();
  if (start > 0 && (anchored_ || site[start - 1] != '.')) return false;
  for (size_t i = 0; i < characters_.size(); ++i) {
    if (characters_[i] != kAny && characters_[i] != site[start + i]) return false;
  }
  return true;
}

}  // namespace pocketlora
