#include "store/scratch_file.h"

#include <sys/resource.h>

#include <csignal>

#include "common/test_support.h"

namespace pocketlora {
namespace {

TEST(ScratchFile, GivesBackWhatWasWrittenAndHasNoName) {
  const TempDir dir;
  Result<ScratchFile> made = ScratchFile::create(dir.path());
  ASSERT_TRUE(made.ok()) << made.status().message();
  const ScratchFile file = std::move(made).value();
  EXPECT_EQ(dir.num_entries(), 0U);
  const std::string text(100000, 'x');
  ASSERT_TRUE(file.write(8192, text.data(), text.size()).ok());
  file.will_need(8192, text.size());
  std::string found(text.size(), ' ');
  ASSERT_TRUE(file.read(8192, found.data(), found.size()).ok());
  EXPECT_EQ(found, text);
  file.discard(8192, text.size());
  ASSERT_TRUE(file.write(0, "abc", 3).ok());
  ASSERT_TRUE(file.read(0, found.data(), 3).ok());
  EXPECT_EQ(found.substr(0, 3), "abc");
}

TEST(ScratchFile, NamesTheFolderThatIsNone) {
  const TempDir dir;
  write_text_file(dir / "f", "");
  EXPECT_TRUE(fails_with(ScratchFile::create(dir / "f").status(), PL_INVALID_ARGUMENT, {dir / "f", "not a folder"}));
  EXPECT_TRUE(fails_with(ScratchFile::create(dir / "g").status(), PL_INVALID_ARGUMENT, {dir / "g"}));
}

TEST(ScratchFile, ReadingBeyondTheEndFails) {
  const TempDir dir;
  Result<ScratchFile> file = ScratchFile::create(dir.path());
  ASSERT_TRUE(file.ok());
  char byte = 0;
  EXPECT_TRUE(fails_with(file.value().read(0, &byte, 1), PL_IO_READ, {dir.path(), "too short"}));
}

TEST(ScratchFile, SaysThatTheDiskIsFull) {
  const TempDir dir;
  Result<ScratchFile> file = ScratchFile::create(dir.path());
  ASSERT_TRUE(file.ok());
  // The process' limit on the size of files stands in for a full disk.
  rlimit before = {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small = {4096, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const std::string text(10000, 'x');
  const Status status = file.value().write(0, text.data(), text.size());
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, old_handler);
  EXPECT_TRUE(fails_with(status, PL_DISK_FULL, {dir.path()}));
}

}  // namespace
}  // namespace pocketlora
