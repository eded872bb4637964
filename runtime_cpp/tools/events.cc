#include "events.h"

#include <chrono>
#include <cstdio>

#include "tool_error.h"

namespace pocketlora_run {

void print_json(const Json& value) {
  // A path may hold bytes that are not UTF-8: replaced, where the default would throw.
  const std::string line = value.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
  if (std::fwrite(line.data(), 1, line.size(), stdout) != line.size() || std::fflush(stdout) != 0) {
    throw ToolError(PL_IO_WRITE, "stdout cannot be written");
  }
}

void print_event(const char* event, const Json& fields) {
  using Seconds = std::chrono::duration<double>;
  Json line = {{"v", 1}, {"event", event}};
  line["time"] = Seconds(std::chrono::system_clock::now().time_since_epoch()).count();
  line.update(fields);
  print_json(line);
}

}  // namespace pocketlora_run
