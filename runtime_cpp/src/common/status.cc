#include "common/status.h"

#include <cstdio>

namespace pocketlora {

std::string format_list(const char* pattern, std::va_list arguments) {
  std::va_list measured;
  va_copy(measured, arguments);
  const int length = std::vsnprintf(nullptr, 0, pattern, measured);
  va_end(measured);
  if (length < 0) return pattern;
  std::string text(static_cast<size_t>(length) + 1, '\0');
  std::vsnprintf(text.data(), text.size(), pattern, arguments);
  text.resize(static_cast<size_t>(length));
  return text;
}

std::string format(const char* pattern, ...) {
  std::va_list arguments;
  va_start(arguments, pattern);
  std::string text = format_list(pattern, arguments);
  va_end(arguments);
  return text;
}

Status error(pl_status code, const char* pattern, ...) {
  std::va_list arguments;
  va_start(arguments, pattern);
  std::string text = format_list(pattern, arguments);
  va_end(arguments);
  return Status(code, std::move(text));
}

void ProblemList::addf(const char* pattern, ...) {
  std::va_list arguments;
  va_start(arguments, pattern);
  add(format_list(pattern, arguments));
  va_end(arguments);
}

Status ProblemList::to_status(pl_status code, const std::string& headline) const {
  if (problems_.empty()) return Status();
  std::string text = headline;
  for (const std::string& problem : problems_) text += "\n  - " + problem;
  return Status(code, std::move(text));
}

const char* status_name(pl_status code) {
  switch (code) {
#define PL_NAME(name) \
  case PL_##name:     \
    return #name
    PL_NAME(OK);
    PL_NAME(INVALID_ARGUMENT);
    PL_NAME(SEQUENCE_TOO_LONG);
    PL_NAME(RANK_TOO_LARGE);
    PL_NAME(UNKNOWN_TARGET_MODULE);
    PL_NAME(INVALID_STATE);
    PL_NAME(INPUT_MISSING);
    PL_NAME(INPUT_MALFORMED);
    PL_NAME(INPUT_UNSUPPORTED);
    PL_NAME(INPUT_MISMATCH);
    PL_NAME(BUNDLE_MISSING_FILE);
    PL_NAME(BUNDLE_CORRUPT);
    PL_NAME(BUNDLE_VERSION);
    PL_NAME(BUNDLE_MISMATCH);
    PL_NAME(ADAPTER_MISSING_FILE);
    PL_NAME(ADAPTER_CORRUPT);
    PL_NAME(ADAPTER_MISMATCH);
    PL_NAME(ADAPTER_OTHER_BASE);
    PL_NAME(ADAPTER_UNSUPPORTED);
    PL_NAME(OUT_OF_MEMORY);
    PL_NAME(CANCELLED);
    PL_NAME(IO_READ);
    PL_NAME(IO_WRITE);
    PL_NAME(DISK_FULL);
    PL_NAME(BACKEND_MISSING);
    PL_NAME(BACKEND_EXECUTION);
    PL_NAME(BACKEND_SELF_TEST);
    PL_NAME(INTERNAL);
#undef PL_NAME
  }
  return "UNKNOWN";
}

}  // namespace pocketlora
