#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace pocketlora_run {

/// Ends a text where one of several strings begins. What may be the beginning of one is held back until that is
/// certain, so no part of a stop string is ever passed on.
class StopText {
 public:
  /// @param stops none of them empty.
  explicit StopText(std::vector<std::string> stops) : stops_(std::move(stops)) {}

  /// @return the text that has become certain; "" once a stop string was found.
  std::string push(const std::string& piece);
  /// The text has ended. @return what was held back, up to a stop string in it.
  std::string flush();
  /// The one that was found; of several that begin at one place the shortest.
  const std::optional<std::string>& found() const { return found_; }

 private:
  size_t first_complete(std::optional<std::string>* stop) const;
  size_t first_possible(size_t before) const;

  std::vector<std::string> stops_;
  std::string held_;
  std::optional<std::string> found_;
};

}  // namespace pocketlora_run
