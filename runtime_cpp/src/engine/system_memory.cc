#include "engine/system_memory.h"

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>

#include "engine/proc_memory.h"

namespace pocketlora {
namespace {

/// The number in a control file. @return kNoLimit for "max", a missing file, and version 1's largest number.
int64_t read_number(const std::string& path) {
  const std::string text = read_proc_file(path.c_str());
  char* end = nullptr;
  const long long value = std::strtoll(text.c_str(), &end, 10);
  constexpr int64_t kUnlimited = int64_t{1} << 60;
  return end == text.c_str() || value >= kUnlimited ? kNoLimit : static_cast<int64_t>(value);
}

/// "key 123" on a line of its own.
int64_t find_number(std::string_view text, const std::string& key) {
  int64_t found = 0;
  each_line(text, [&](const std::string& line) {
    if (line.compare(0, key.size() + 1, key + " ") == 0) found = std::strtoll(line.c_str() + key.size(), nullptr, 10);
  });
  return found;
}

int64_t available_in(const std::string& folder, int version) {
  const int64_t limit = read_number(folder + (version == 2 ? "/memory.max" : "/memory.limit_in_bytes"));
  if (limit == kNoLimit) return kNoLimit;
  const int64_t usage = read_number(folder + (version == 2 ? "/memory.current" : "/memory.usage_in_bytes"));
  if (usage == kNoLimit) return limit;
  const int64_t cache =
      find_number(read_proc_file((folder + "/memory.stat").c_str()), version == 2 ? "file" : "total_cache");
  return std::max<int64_t>(limit - std::max<int64_t>(usage - cache, 0), 0);
}

}  // namespace

int64_t parse_mem_available(std::string_view meminfo) {
  int64_t bytes = kNoLimit;
  each_line(meminfo, [&bytes](const std::string& line) {
    int64_t kilobytes = 0;
    if (std::sscanf(line.c_str(), "MemAvailable: %" SCNd64 " kB", &kilobytes) == 1) bytes = kilobytes * 1024;
  });
  return bytes;
}

std::string parse_cgroup_path(std::string_view cgroup, std::string_view controller) {
  std::string path;
  each_line(cgroup, [&](const std::string& line) {  // "4:memory:/path", "0::/path"
    const size_t first = line.find(':');
    const size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) return;
    const std::string list = "," + line.substr(first + 1, second - first - 1) + ",";
    if (list.find("," + std::string(controller) + ",") != std::string::npos) path = line.substr(second + 1);
  });
  return path;
}

int64_t cgroup_available(const std::string& root, std::string path, int version) {
  int64_t least = available_in(root, version);  // a container sees its own group there
  while (path.size() > 1) {
    least = std::min(least, available_in(root + path, version));
    path.resize(path.find_last_of('/'));
  }
  return least;
}

int64_t available_memory() {
  const std::string cgroup = read_proc_file("/proc/self/cgroup");
  return std::min({parse_mem_available(read_proc_file("/proc/meminfo")),
                   cgroup_available("/sys/fs/cgroup", parse_cgroup_path(cgroup, ""), 2),
                   cgroup_available("/sys/fs/cgroup/memory", parse_cgroup_path(cgroup, "memory"), 1)});
}

}  // namespace pocketlora
