#include "store/atomic_file.h"

#include <sys/mount.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>

#include "common/test_support.h"

namespace pocketlora {
namespace {

// While it lives, files may not grow beyond `bytes`: the next write fails as on a full disk.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    handler_ = std::signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit = {bytes, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  rlimit before_ = {};
  void (*handler_)(int) = nullptr;
};

Status write_atomically(const std::string& path, const std::string& text) {
  PL_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::create(path));
  PL_RETURN_IF_ERROR(file.write(text));
  return file.commit();
}

Status write_folder(const std::string& path, const std::vector<std::pair<std::string, std::string>>& files) {
  PL_ASSIGN_OR_RETURN(AtomicDirectory folder, AtomicDirectory::create(path));
  for (const auto& file : files) PL_RETURN_IF_ERROR(write_atomically(folder.add(file.first), file.second));
  return folder.commit();
}

TEST(AtomicFile, AppearsOnlyWhenCommitted) {
  const TempDir dir;
  Result<AtomicFile> file = AtomicFile::create(dir / "f");
  ASSERT_TRUE(file.ok()) << file.status().message();
  ASSERT_TRUE(file.value().write("new").ok());
  EXPECT_FALSE(std::filesystem::exists(dir / "f"));
  ASSERT_TRUE(file.value().commit().ok());
  EXPECT_EQ(read_text_file(dir / "f"), "new");
  EXPECT_EQ(dir.num_entries(), 1U);
}

TEST(AtomicFile, InterruptedWriteLeavesTheOldFile) {
  const TempDir dir;
  write_text_file(dir / "f", "old");
  {
    Result<AtomicFile> file = AtomicFile::create(dir / "f");
    ASSERT_TRUE(file.ok());
    ASSERT_TRUE(file.value().write("half of the n").ok());
  }
  EXPECT_EQ(read_text_file(dir / "f"), "old");
  EXPECT_EQ(dir.num_entries(), 1U);
}

TEST(AtomicFile, ReportsAMissingFolder) {
  const TempDir dir;
  EXPECT_TRUE(fails_with(write_atomically(dir / "absent/f", "x"), PL_IO_WRITE, {"absent/f"}));
}

TEST(AtomicFile, ReportsAFileThatMayNotGrow) {
  const TempDir dir;
  const FileSizeLimit limit(1000);
  EXPECT_TRUE(fails_with(write_atomically(dir / "f", std::string(5000, 'x')), PL_DISK_FULL, {dir / "f"}));
  EXPECT_EQ(dir.num_entries(), 0U);
}

TEST(AtomicFile, ReportsAFullDisk) {
  const TempDir dir;
  if (::mount("tmpfs", dir.path().c_str(), "tmpfs", 0, "size=64k") != 0) GTEST_SKIP() << "mounting needs root";
  EXPECT_TRUE(fails_with(write_atomically(dir / "f", std::string(200000, 'x')), PL_DISK_FULL, {dir / "f", "No space"}));
  EXPECT_TRUE(fails_with(write_folder(dir / "d", {{"a", "small"}, {"b", std::string(200000, 'x')}}), PL_DISK_FULL));
  EXPECT_EQ(dir.num_entries(), 0U);
  ::umount(dir.path().c_str());
}

TEST(AtomicDirectory, CreatesAFolderWithItsParents) {
  const TempDir dir;
  ASSERT_TRUE(write_folder(dir / "p/q/d/", {{"a", "1"}, {"b", "2"}}).ok());
  EXPECT_EQ(read_text_file(dir / "p/q/d/a"), "1");
  EXPECT_EQ(read_text_file(dir / "p/q/d/b"), "2");
  EXPECT_EQ(dir.num_entries(), 1U);
}

TEST(AtomicDirectory, ReplacesAnEmptyFolderAndAnOldVersion) {
  const TempDir dir;
  std::filesystem::create_directory(dir / "d");
  ASSERT_TRUE(write_folder(dir / "d", {{"a", "1"}, {"b", "2"}}).ok());
  ASSERT_TRUE(write_folder(dir / "d", {{"a", "3"}, {"b", "4"}}).ok());
  EXPECT_EQ(read_text_file(dir / "d/a") + read_text_file(dir / "d/b"), "34");
  EXPECT_EQ(dir.num_entries(), 1U);
}

TEST(AtomicDirectory, KeepsFilesOfOthers) {
  const TempDir dir;
  std::filesystem::create_directory(dir / "d");
  write_text_file(dir / "d/notes.txt", "mine");
  write_text_file(dir / "d/a", "old");
  ASSERT_TRUE(write_folder(dir / "d", {{"a", "1"}, {"b", "2"}}).ok());
  EXPECT_EQ(read_text_file(dir / "d/notes.txt"), "mine");
  EXPECT_EQ(read_text_file(dir / "d/a") + read_text_file(dir / "d/b"), "12");
  EXPECT_EQ(dir.num_entries(), 1U);
}

TEST(AtomicDirectory, InterruptedWriteLeavesNothing) {
  const TempDir dir;
  {
    Result<AtomicDirectory> folder = AtomicDirectory::create(dir / "d");
    ASSERT_TRUE(folder.ok());
    ASSERT_TRUE(write_atomically(folder.value().add("a"), "1").ok());
    EXPECT_FALSE(std::filesystem::exists(dir / "d"));
  }
  EXPECT_EQ(dir.num_entries(), 0U);
}

TEST(AtomicDirectory, RefusesAFileInItsPlace) {
  const TempDir dir;
  write_text_file(dir / "d", "a file");
  EXPECT_TRUE(fails_with(AtomicDirectory::create(dir / "d").status(), PL_IO_WRITE, {dir / "d", "found a file"}));
  EXPECT_TRUE(fails_with(AtomicDirectory::create(dir / "d/e").status(), PL_IO_WRITE, {dir / "d"}));
}

}  // namespace
}  // namespace pocketlora
