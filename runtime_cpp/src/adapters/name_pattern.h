#pragma once

#include <optional>
#include <string>

namespace pocketlora {

/// A key of PEFT's rank_pattern or alpha_pattern. PEFT takes it as a regular expression that a site's whole name, or
/// its end after a dot, must match. Keys are written by strangers and a regex engine can be made to run for ever, so
/// only those are read of which every character stands for one: names, where "." is any character and "\." a dot,
/// perhaps between "^" and "$".
class NamePattern {
 public:
  /// @return nothing when the key needs a regex engine.
  static std::optional<NamePattern> parse(const std::string& key);

  /// PEFT's rule: re.match("(.*\\.)?(" + key + ")$", site).
  bool matches(const std::string& site) const;

 private:
  std::string characters_;  // kAny where any character fits
  bool anchored_ = false;
};

}  // namespace pocketlora
