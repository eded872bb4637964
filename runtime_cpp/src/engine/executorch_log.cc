#include "engine/executorch_log.h"

#include <executorch/runtime/platform/platform.h>

#include <mutex>

namespace pocketlora {
namespace {

// An operator that is not there is logged once for each of its uses.
constexpr size_t kLongestErrors = 1000;

thread_local int capturing = 0;
pal_emit_log_message_method print_as_before = nullptr;

std::string& captured_errors() {
  thread_local std::string errors;
  return errors;
}

void emit(et_timestamp_t timestamp, et_pal_log_level_t level, const char* filename, const char* function, size_t line,
          const char* message, size_t length) {
  if (capturing == 0) {
    if (print_as_before != nullptr) print_as_before(timestamp, level, filename, function, line, message, length);
    return;
  }
  std::string& errors = captured_errors();
  if ((level != kError && level != kFatal) || errors.size() > kLongestErrors) return;
  if (!errors.empty()) errors += "; ";
  errors.append(message, length);
}

void install() {
  static std::once_flag once;
  std::call_once(once, [] {
    print_as_before = executorch::runtime::get_pal_impl()->emit_log_message;
    executorch::runtime::register_pal(executorch::runtime::PalImpl::create(emit, __FILE__));
  });
}

}  // namespace

ExecutorchLog::ExecutorchLog() {
  install();
  if (capturing++ == 0) captured_errors().clear();
}

ExecutorchLog::~ExecutorchLog() { --capturing; }

const std::string& ExecutorchLog::errors() const { return captured_errors(); }

}  // namespace pocketlora
