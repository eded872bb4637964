#include "store/mapped_file.h"

#include <sys/mman.h>

#include "common/test_support.h"

namespace pocketlora {
namespace {

TEST(MappedFile, ShowsTheFile) {
  const TempDir dir;
  write_text_file(dir / "f", "hello");
  Result<MappedFile> file = MappedFile::open(dir / "f", PL_INPUT_MISSING);
  ASSERT_TRUE(file.ok()) << file.status().message();
  MappedFile moved = std::move(file).value();
  std::filesystem::remove(dir / "f");
  EXPECT_EQ(std::string(moved.bytes().begin(), moved.bytes().end()), "hello");
  moved.advise(1, 100, MADV_WILLNEED);
  moved.advise(100, 1, MADV_DONTNEED);
  EXPECT_EQ(moved.data()[4], 'o');
}

TEST(MappedFile, AcceptsAnEmptyFile) {
  const TempDir dir;
  write_text_file(dir / "f", "");
  const Result<MappedFile> file = MappedFile::open(dir / "f", PL_INPUT_MISSING);
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(file.value().size(), 0U);
}

TEST(MappedFile, NamesWhatIsMissing) {
  const TempDir dir;
  EXPECT_TRUE(
      fails_with(MappedFile::open(dir / "f", PL_BUNDLE_MISSING_FILE).status(), PL_BUNDLE_MISSING_FILE, {dir / "f"}));
  EXPECT_TRUE(fails_with(MappedFile::open(dir.path(), PL_BUNDLE_MISSING_FILE).status(), PL_IO_READ, {"regular file"}));
}

}  // namespace
}  // namespace pocketlora
