#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

namespace pocketlora {

/// Stands for "no limit".
inline constexpr int64_t kNoLimit = std::numeric_limits<int64_t>::max();

/// The "MemAvailable" line of /proc/meminfo in bytes. @return kNoLimit without one.
int64_t parse_mem_available(std::string_view meminfo);

/// The folder of this process in a hierarchy of control groups, from /proc/self/cgroup. @param controller "memory" for
/// version 1, "" for version 2. @return "" when it is in none.
std::string parse_cgroup_path(std::string_view cgroup, std::string_view controller);

/// What a control group and those above it still leave to the process: limit − usage + the page cache in that usage,
/// which the kernel takes back. @param root where the hierarchy is mounted. @param path as parse_cgroup_path() gives
/// it.
/// @param version 1 or 2. @return kNoLimit when none has a limit.
int64_t cgroup_available(const std::string& root, std::string path, int version);

/// Bytes that this process may still take, page cache and anonymous memory together: the least of MemAvailable and its
/// memory control groups' limits, of both versions.
int64_t available_memory();

}  // namespace pocketlora
