#include "engine/system_memory.h"

#include "common/test_support.h"

namespace pocketlora {
namespace {

TEST(SystemMemory, ReadsMemAvailable) {
  EXPECT_EQ(parse_mem_available("MemTotal: 100 kB\nMemAvailable:   20 kB\n"), 20 * 1024);
  EXPECT_EQ(parse_mem_available("MemTotal: 100 kB\n"), kNoLimit);
}

TEST(SystemMemory, FindsTheControlGroupOfEachVersion) {
  const char* text = "5:cpu,memory:/a/b\n3:memory_pressure:/x\n0::/user.slice/s\n";
  EXPECT_EQ(parse_cgroup_path(text, "memory"), "/a/b");
  EXPECT_EQ(parse_cgroup_path(text, ""), "/user.slice/s");
  EXPECT_EQ(parse_cgroup_path("1:cpu:/\n", "memory"), "");
}

TEST(SystemMemory, TheTightestControlGroupDecides) {
  const TempDir root;
  std::filesystem::create_directories(root / "a/b");
  write_text_file(root / "a/memory.max", "1000000\n");
  write_text_file(root / "a/memory.current", "400000\n");
  write_text_file(root / "a/memory.stat", "anon 100000\nfile_mapped 5\nfile 300000\n");
  write_text_file(root / "a/b/memory.max", "max\n");
  EXPECT_EQ(cgroup_available(root.path(), "/a/b", 2), 900000);
  write_text_file(root / "a/b/memory.max", "50000\n");
  EXPECT_EQ(cgroup_available(root.path(), "/a/b", 2), 50000);
  EXPECT_EQ(cgroup_available(root.path(), "", 2), kNoLimit);
}

TEST(SystemMemory, ReadsVersionOneToo) {
  const TempDir root;
  std::filesystem::create_directories(root / "g");
  write_text_file(root / "memory.limit_in_bytes", "9223372036854771712\n");
  write_text_file(root / "g/memory.limit_in_bytes", "3000\n");
  write_text_file(root / "g/memory.usage_in_bytes", "2500\n");
  write_text_file(root / "g/memory.stat", "cache 1\ntotal_cache 2000\n");
  EXPECT_EQ(cgroup_available(root.path(), "/g", 1), 2500);
}

TEST(SystemMemory, ThisMachineHasSome) {
  EXPECT_GT(available_memory(), 1 << 20);
  EXPECT_LT(available_memory(), kNoLimit);
}

}  // namespace
}  // namespace pocketlora
