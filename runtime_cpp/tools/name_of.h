#pragma once

#include <map>
#include <string>

namespace pocketlora_run {

/// @return the name that an option has for a value; "" for none.
template <typename Value>
std::string name_of(const std::map<std::string, Value>& names, Value value) {
  for (const auto& [name, candidate] : names) {
    if (candidate == value) return name;
  }
  return "";
}

}  // namespace pocketlora_run
