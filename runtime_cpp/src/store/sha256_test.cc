#include "store/sha256.h"

#include "common/test_support.h"

namespace pocketlora {
namespace {

ByteSpan bytes_of(const std::string& text) {
  return ByteSpan(reinterpret_cast<const uint8_t*>(text.data()), text.size());
}

// FIPS 180-2, appendix B.
TEST(Sha256, GivesTheStandardsDigests) {
  EXPECT_EQ(sha256_hex(bytes_of("abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256_hex(bytes_of(std::string(1000000, 'a'))),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, HashesFilesInChunks) {
  const TempDir dir;
  const std::string text((1 << 20) * 2 + 17, 'z');
  write_text_file(dir / "f", text);
  const Result<std::string> digest = sha256_file(dir / "f", PL_INPUT_MISSING);
  ASSERT_TRUE(digest.ok());
  EXPECT_EQ(digest.value(), sha256_hex(bytes_of(text)));
  EXPECT_TRUE(fails_with(sha256_file(dir / "g", PL_BUNDLE_MISSING_FILE).status(), PL_BUNDLE_MISSING_FILE, {dir / "g"}));
  EXPECT_TRUE(fails_with(sha256_file(dir.path(), PL_BUNDLE_MISSING_FILE).status(), PL_IO_READ));
}

}  // namespace
}  // namespace pocketlora
