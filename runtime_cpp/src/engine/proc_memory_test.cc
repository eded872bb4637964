#include "engine/proc_memory.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

namespace pocketlora {
namespace {

TEST(ProcMemory, ReadsStatus) {
  const ProcessMemory memory = parse_proc_status(
      "Name:\ttest\nVmRSS:\t    3072 kB\nRssAnon:\t    1024 kB\nRssFile:\t    2048 kB\nRssShmem:\t 0 kB\n");
  EXPECT_EQ(memory.rss_anon, 1024 * 1024);
  EXPECT_EQ(memory.rss_file, 2048 * 1024);
}

TEST(ProcMemory, EmptyTextGivesZeros) {
  EXPECT_EQ(parse_proc_status("").rss_anon, 0);
  EXPECT_EQ(parse_proc_smaps("", 0, 100).resident, 0);
}

TEST(ProcMemory, SumsTheMappingsInsideTheRange) {
  const char* text =
      "1000-2000 r--s 00000000 08:01 42 /bundle/base.ptd\nRss:    4 kB\nPrivate_Dirty:   0 kB\n"
      "2000-4000 r--s 00001000 08:01 42 /bundle/base.ptd\nRss:    8 kB\nPrivate_Dirty:   4 kB\n"
      "4000-5000 rw-p 00000000 00:00 0\nRss:   64 kB\nPrivate_Dirty:  64 kB\n";
  const MappingMemory memory = parse_proc_smaps(text, 0x1000, 0x4000);
  EXPECT_EQ(memory.resident, 12 * 1024);
  EXPECT_EQ(memory.private_dirty, 4 * 1024);
}

TEST(ProcMemory, ReadsThisProcess) { EXPECT_GT(read_process_memory().rss_anon, 0); }

TEST(ProcMemory, LeavesOutDirtyPagesBehindTheMapping) {
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  auto* pages =
      static_cast<uint8_t*>(::mmap(nullptr, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(pages, MAP_FAILED);
  pages[page] = 1;
  const int file = ::open("/proc/self/exe", O_RDONLY);
  ASSERT_GE(file, 0);
  ASSERT_EQ(::mmap(pages, page, PROT_READ, MAP_SHARED | MAP_FIXED, file, 0), pages);
  EXPECT_EQ(pages[0], 0x7F);  // touched: the first byte of an ELF file
  const MappingMemory memory = read_mapping_memory(pages, page - 1);
  EXPECT_EQ(memory.resident, static_cast<int64_t>(page));
  EXPECT_EQ(memory.private_dirty, 0);
  ::munmap(pages, 2 * page);
  ::close(file);
}

}  // namespace
}  // namespace pocketlora
