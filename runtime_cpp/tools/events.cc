#include "events.h"

#include <chrono>
#include <cstdio>

#include "tool_error.h"

namespace pocketlora_run {

namespace {

// A path may hold bytes that are not UTF-8: replaced, where the default would throw.
std::string one_line(const Json& value) { return value.dump(-1, ' ', false, Json::error_handler_t::replace); }

}  // namespace

void print_json(const Json& value) {
  const std::string line = one_line(value) + "\n";
  if (std::fwrite(line.data(), 1, line.size(), stdout) != line.size() || std::fflush(stdout) != 0) {
    throw ToolError(PL_IO_WRITE, "stdout cannot be written");
  }
}

std::string print_event(const char* event, const Json& fields) {
  using Seconds = std::chrono::duration<double>;
  Json line = {{"v", 1}, {"event", event}};
  line["time"] = Seconds(std::chrono::system_clock::now().time_since_epoch()).count();
  line.update(fields);
  print_json(line);
  return one_line(line);
}

}  // namespace pocketlora_run
