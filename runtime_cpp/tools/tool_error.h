#pragma once

#include <exception>
#include <string>
#include <utility>

#include "pocketlora/pocketlora.h"

namespace pocketlora_run {

/// A failure that ends the command. Only this tool throws: the library below it returns codes.
class ToolError : public std::exception {
 public:
  ToolError(pl_status code, std::string message) : code_(code), message_(std::move(message)) {}
  pl_status code() const { return code_; }
  const char* what() const noexcept override { return message_.c_str(); }

 private:
  pl_status code_;
  std::string message_;
};

/// Throws the library's last error unless the status is PL_OK.
inline void check(pl_status status) {
  if (status != PL_OK) throw ToolError(status, pl_last_error());
}

/// The exit code of docs/errors.md, from the status' group of hundreds.
inline int exit_code(pl_status status) {
  const int group = status / 100;
  if (group == 0) return 0;
  return group >= 1 && group <= 7 ? group + 1 : 1;
}

}  // namespace pocketlora_run
