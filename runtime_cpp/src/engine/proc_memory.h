#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace pocketlora {

/// A file of the kernel's, whose size is not known in advance. @return "" when it cannot be read.
std::string read_proc_file(const char* path);
/// Calls visit(line) for each line of a text.
void each_line(std::string_view text, const std::function<void(const std::string& line)>& visit);

/// Bytes, from /proc/self/status.
struct ProcessMemory {
  int64_t rss_anon = 0, rss_file = 0;
};
ProcessMemory parse_proc_status(std::string_view text);
ProcessMemory read_process_memory();

/// Bytes, from /proc/self/smaps.
struct MappingMemory {
  int64_t resident = 0, private_dirty = 0;
};
/// Sums the entries that lie in [begin, end).
MappingMemory parse_proc_smaps(std::string_view text, uintptr_t begin, uintptr_t end);
MappingMemory read_mapping_memory(const void* data, size_t size);

}  // namespace pocketlora
