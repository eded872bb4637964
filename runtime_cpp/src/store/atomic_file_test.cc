#include "store/atomic_file.h"

#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
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

// While it lives, the process works in this folder.
class WorkingFolder {
 public:
  explicit WorkingFolder(const std::string& path) : before_(std::filesystem::current_path()) {
    std::filesystem::current_path(path);
  }
  ~WorkingFolder() { std::filesystem::current_path(before_); }

 private:
  std::filesystem::path before_;
};

// While it lives, `folder` cannot be written to, not even by root, who gives up its rights but keeps `writable`.
class UnwritableFolder {
 public:
  UnwritableFolder(const std::string& folder, const std::string& writable) : folder_(folder) {
    EXPECT_EQ(::chmod(folder.c_str(), 0555), 0);
    if (::geteuid() != 0) return;
    constexpr uid_t kNobody = 65534;
    EXPECT_EQ(::chown(writable.c_str(), kNobody, static_cast<gid_t>(-1)), 0);
    EXPECT_EQ(::seteuid(kNobody), 0);
  }
  ~UnwritableFolder() {
    EXPECT_EQ(::seteuid(::getuid()), 0);
    ::chmod(folder_.c_str(), 0755);
  }

 private:
  std::string folder_;
};

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

TEST(AtomicFile, PassesOverTemporaryNamesThatAreTaken) {
  const TempDir dir;
  std::string last;
  {
    Result<AtomicFile> file = AtomicFile::create(dir / "f");
    ASSERT_TRUE(file.ok());
    last = file.value().temporary_path();
  }
  // What a killed process of the same id left behind: the next names.
  const size_t digits = last.rfind('-') + 1;
  const int number = std::stoi(last.substr(digits));
  for (int i = 1; i <= 8; ++i) write_text_file(last.substr(0, digits) + std::to_string(number + i), "stale");
  const Status status = write_atomically(dir / "f", "new");
  EXPECT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(read_text_file(dir / "f"), "new");
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

TEST(AtomicDirectory, RetiredFilesGoWithTheOldVersion) {
  const TempDir dir;
  for (const bool others : {false, true}) {  // exchanged as a whole, and file by file
    ASSERT_TRUE(write_folder(dir / "d", {{"a", "old"}, {"gone", "old"}}).ok());
    if (others) write_text_file(dir / "d/notes.txt", "mine");
    Result<AtomicDirectory> folder = AtomicDirectory::create(dir / "d");
    ASSERT_TRUE(folder.ok());
    ASSERT_TRUE(write_atomically(folder.value().add("a"), "new").ok());
    folder.value().retire("gone");
    folder.value().retire("absent");
    EXPECT_TRUE(std::filesystem::exists(dir / "d/gone"));
    ASSERT_TRUE(folder.value().commit().ok());
    EXPECT_EQ(read_text_file(dir / "d/a"), "new");
    EXPECT_FALSE(std::filesystem::exists(dir / "d/gone"));
    EXPECT_EQ(std::filesystem::exists(dir / "d/notes.txt"), others);
  }
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

TEST(AtomicDirectory, PassesOverTemporaryNamesThatAreTaken) {
  const TempDir dir;
  std::string last;
  {
    Result<AtomicDirectory> folder = AtomicDirectory::create(dir / "d");
    ASSERT_TRUE(folder.ok());
    last = folder.value().add("a");
  }
  last.resize(last.rfind('/'));
  const size_t digits = last.rfind('-') + 1;
  const int number = std::stoi(last.substr(digits));
  for (int i = 1; i <= 8; ++i) {
    std::filesystem::create_directory(last.substr(0, digits) + std::to_string(number + i));
  }
  const Status status = write_folder(dir / "d", {{"a", "1"}});
  EXPECT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(read_text_file(dir / "d/a"), "1");
}

TEST(AtomicDirectory, WritesThroughASymbolicLink) {
  const TempDir dir;
  std::filesystem::create_directory(dir / "real");
  std::filesystem::create_directory_symlink("real", dir / "link");
  for (const char* text : {"1", "2"}) {
    const Status status = write_folder(dir / "link/", {{"a", text}});
    EXPECT_TRUE(status.ok()) << status.message();
    EXPECT_EQ(read_text_file(dir / "real/a"), text);
  }
  EXPECT_TRUE(std::filesystem::is_symlink(dir / "link"));
  EXPECT_EQ(dir.num_entries(), 2U);
}

TEST(AtomicDirectory, RefusesALinkToNothingBeforeTheWork) {
  const TempDir dir;
  std::filesystem::create_directory_symlink("absent", dir / "link");
  EXPECT_TRUE(fails_with(AtomicDirectory::create(dir / "link").status(), PL_IO_WRITE, {dir / "link", "link"}));
  EXPECT_EQ(dir.num_entries(), 1U);
}

TEST(AtomicDirectory, WritesIntoTheWorkingFolder) {
  const TempDir dir;
  std::filesystem::create_directory(dir / "d");
  {
    const WorkingFolder working(dir / "d");
    for (const char* text : {"1", "2"}) {
      const Status status = write_folder(".", {{"a", text}, {"b", text}});
      EXPECT_TRUE(status.ok()) << status.message();
      EXPECT_EQ(read_text_file("a"), text);
    }
  }
  EXPECT_EQ(read_text_file(dir / "d/b"), "2");
  EXPECT_EQ(dir.num_entries(), 1U);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(dir / "d"), std::filesystem::directory_iterator()), 2);
}

TEST(AtomicDirectory, WritesWhereOnlyTheTargetIsWritable) {
  const TempDir dir;
  std::filesystem::create_directory(dir / "d");
  Status status;
  {
    const UnwritableFolder parent(dir.path(), dir / "d");
    status = write_folder(dir / "d", {{"a", "1"}});
  }
  EXPECT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(read_text_file(dir / "d/a"), "1");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(dir / "d"), std::filesystem::directory_iterator()), 1);
}

TEST(AtomicDirectory, WritesIntoAMountPoint) {
  const TempDir dir;
  std::filesystem::create_directory(dir / "disk");
  std::filesystem::create_directory(dir / "bound");
  std::filesystem::create_directory(dir / "source");
  if (::mount("tmpfs", (dir / "disk").c_str(), "tmpfs", 0, "size=64k") != 0) GTEST_SKIP() << "mounting needs root";
  // The same file system as the folder around it, but another mount.
  EXPECT_EQ(::mount((dir / "source").c_str(), (dir / "bound").c_str(), nullptr, MS_BIND, nullptr), 0);
  for (const std::string& target : {dir / "disk", dir / "bound"}) {
    for (const char* text : {"1", "2"}) {
      const Status status = write_folder(target, {{"a", text}});
      EXPECT_TRUE(status.ok()) << status.message();
      EXPECT_EQ(read_text_file(target + "/a"), text);
    }
  }
  EXPECT_EQ(dir.num_entries(), 3U);
  ::umount((dir / "disk").c_str());
  ::umount((dir / "bound").c_str());
}

}  // namespace
}  // namespace pocketlora
