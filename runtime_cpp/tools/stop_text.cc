#include "stop_text.h"

#include <algorithm>
#include <utility>

namespace pocketlora_run {

/// Where the first whole stop string begins; the end of what is held when there is none.
size_t StopText::first_complete(std::optional<std::string>* stop) const {
  size_t first = held_.size();
  for (const std::string& candidate : stops_) {
    const size_t at = held_.find(candidate);
    if (at == std::string::npos || at > first || (at == first && *stop && candidate.size() > (*stop)->size())) continue;
    first = at;
    *stop = candidate;
  }
  return first;
}

/// Where a stop string may begin that the end of the text cuts off; `before` when none does before there.
size_t StopText::first_possible(size_t before) const {
  size_t longest = 0;
  for (const std::string& stop : stops_) longest = std::max(longest, stop.size());
  for (size_t at = held_.size() - std::min(held_.size(), longest - 1); at < before; ++at) {
    for (const std::string& stop : stops_) {
      if (held_.size() - at < stop.size() && stop.compare(0, held_.size() - at, held_, at) == 0) return at;
    }
  }
  return before;
}

std::string StopText::push(const std::string& piece) {
  if (found_) return "";
  held_ += piece;
  if (stops_.empty()) return std::exchange(held_, "");
  std::optional<std::string> stop;
  const size_t complete = first_complete(&stop);
  // One that begins earlier and is cut off would win: wait for it.
  const size_t certain = first_possible(complete);
  if (stop && certain == complete) found_ = stop;
  std::string shown = held_.substr(0, certain);
  held_.erase(0, certain);
  return shown;
}

std::string StopText::flush() {
  if (found_) return "";
  held_.erase(first_complete(&found_));
  return std::exchange(held_, "");
}

}  // namespace pocketlora_run
