#pragma once

#include <optional>
#include <utility>

#include "common/status.h"

namespace pocketlora {

/// A value or the Status that explains why there is none.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}          // NOLINT(google-explicit-constructor)
  Result(Status status) : status_(std::move(status)) {}  // NOLINT(google-explicit-constructor)

  bool ok() const { return value_.has_value(); }
  const Status& status() const { return status_; }
  /// Only when ok().
  T& value() & { return *value_; }
  const T& value() const& { return *value_; }
  T&& value() && { return *std::move(value_); }

 private:
  std::optional<T> value_;
  Status status_;
};

}  // namespace pocketlora

#define PL_CONCAT_INNER(a, b) a##b
#define PL_CONCAT(a, b) PL_CONCAT_INNER(a, b)

/// `PL_ASSIGN_OR_RETURN(auto x, f())` declares x as the value of a Result, or returns its Status.
#define PL_ASSIGN_OR_RETURN(declaration, expression) \
  PL_ASSIGN_OR_RETURN_IMPL(PL_CONCAT(pl_result_, __LINE__), declaration, expression)
// NOLINTBEGIN(bugprone-macro-parentheses): a declaration cannot stand in parentheses.
#define PL_ASSIGN_OR_RETURN_IMPL(name, declaration, expression) \
  auto name = (expression);                                     \
  if (!name.ok()) return name.status();                         \
  declaration = std::move(name).value()
// NOLINTEND(bugprone-macro-parentheses)
