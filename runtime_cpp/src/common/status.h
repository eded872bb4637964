#pragma once

#include <cstdarg>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "pocketlora/pocketlora.h"

#if defined(__GNUC__)
#define PL_PRINTF_FORMAT(format_index, first_argument) __attribute__((format(printf, format_index, first_argument)))
#else
#define PL_PRINTF_FORMAT(format_index, first_argument)
#endif

namespace pocketlora {

/// printf into a std::string.
std::string format(const char* pattern, ...) PL_PRINTF_FORMAT(1, 2);
std::string format_list(const char* pattern, std::va_list arguments) PL_PRINTF_FORMAT(1, 0);

/// @return the name of a status without the PL_ prefix, for example "ADAPTER_MISMATCH". Static storage.
const char* status_name(pl_status code);

/// The outcome of an operation: PL_OK, or a code and a message that names the thing, what was expected and what was
/// found.
class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(pl_status code, std::string message) : code_(code), message_(std::move(message)) {}

  bool ok() const { return code_ == PL_OK; }
  pl_status code() const { return code_; }
  const std::string& message() const { return message_; }

 private:
  pl_status code_ = PL_OK;
  std::string message_;
};

/// A Status with a printf-like message.
Status error(pl_status code, const char* pattern, ...) PL_PRINTF_FORMAT(2, 3);

/// Collects every problem before failing once, so that a user can mend all of them in one go.
class ProblemList {
 public:
  void add(std::string problem) { problems_.push_back(std::move(problem)); }
  void addf(const char* pattern, ...) PL_PRINTF_FORMAT(2, 3);
  bool empty() const { return problems_.empty(); }
  size_t size() const { return problems_.size(); }

  /// OK when there are none, else `headline` and one "  - problem" line for each.
  Status to_status(pl_status code, const std::string& headline) const;

 private:
  std::vector<std::string> problems_;
};

}  // namespace pocketlora

/// Returns from the enclosing function when `expression` (a Status) failed.
#define PL_RETURN_IF_ERROR(expression)                   \
  do {                                                   \
    ::pocketlora::Status pl_status_value = (expression); \
    if (!pl_status_value.ok()) return pl_status_value;   \
  } while (false)
