#include "engine/proc_memory.h"

#include <unistd.h>

#include <cinttypes>
#include <cstdio>

namespace pocketlora {

std::string read_proc_file(const char* path) {
  std::string text;
  std::FILE* file = std::fopen(path, "re");
  if (file == nullptr) return text;
  char chunk[4096];
  size_t count = 0;
  while ((count = std::fread(chunk, 1, sizeof(chunk), file)) > 0) text.append(chunk, count);
  std::fclose(file);
  return text;
}

void each_line(std::string_view text, const std::function<void(const std::string& line)>& visit) {
  while (!text.empty()) {
    const size_t end = text.find('\n');
    visit(std::string(text.substr(0, end)));
    if (end == std::string_view::npos) return;
    text.remove_prefix(end + 1);
  }
}

namespace {

/// Reads "Key:   123 kB" into bytes. @return whether the line has this key.
bool read_kilobytes(const std::string& line, const char* key, int64_t* bytes) {
  int64_t kilobytes = 0;
  const std::string pattern = std::string(key) + ": %" SCNd64 " kB";
  if (std::sscanf(line.c_str(), pattern.c_str(), &kilobytes) != 1) return false;
  *bytes = kilobytes * 1024;
  return true;
}

}  // namespace

ProcessMemory parse_proc_status(std::string_view text) {
  ProcessMemory memory;
  each_line(text, [&memory](const std::string& line) {
    read_kilobytes(line, "RssAnon", &memory.rss_anon);
    read_kilobytes(line, "RssFile", &memory.rss_file);
  });
  return memory;
}

ProcessMemory read_process_memory() { return parse_proc_status(read_proc_file("/proc/self/status")); }

MappingMemory parse_proc_smaps(std::string_view text, uintptr_t begin, uintptr_t end) {
  MappingMemory memory;
  bool inside = false;
  each_line(text, [&](const std::string& line) {
    uintptr_t first = 0;
    uintptr_t last = 0;
    if (std::sscanf(line.c_str(), "%" SCNxPTR "-%" SCNxPTR " ", &first, &last) == 2) {
      inside = first >= begin && last <= end;
      return;
    }
    int64_t bytes = 0;
    if (!inside) return;
    if (read_kilobytes(line, "Rss", &bytes)) memory.resident += bytes;
    if (read_kilobytes(line, "Private_Dirty", &bytes)) memory.private_dirty += bytes;
  });
  return memory;
}

MappingMemory read_mapping_memory(const void* data, size_t size) {
  // Rounded to this system's pages, not more: what lies behind the mapping is somebody else's.
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<uintptr_t>(data);
  const uintptr_t end = (begin + size + page - 1) / page * page;
  return parse_proc_smaps(read_proc_file("/proc/self/smaps"), begin, end);
}

}  // namespace pocketlora
