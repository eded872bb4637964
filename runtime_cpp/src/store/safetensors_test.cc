#include "store/safetensors.h"

#include "common/test_support.h"
#include "store/float_formats.h"

namespace pocketlora {
namespace {

std::string with_length(const std::string& header, const std::string& data) {
  std::string text;
  for (int i = 0; i < 8; ++i) text.push_back(static_cast<char>(static_cast<uint64_t>(header.size()) >> (8 * i)));
  return text + header + data;
}

std::string tensor(const std::string& name, const std::string& dtype, const std::string& shape, int begin, int end) {
  return "\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape + ",\"data_offsets\":[" +
         std::to_string(begin) + "," + std::to_string(end) + "]}";
}

class HostileFile : public ::testing::Test {
 protected:
  // Opens a file with these bytes and expects it to be refused with the texts in the message.
  ::testing::AssertionResult refused(const std::string& bytes, const std::vector<std::string>& texts) {
    write_text_file(dir_ / "f", bytes);
    std::vector<std::string> expected = texts;
    expected.push_back(dir_ / "f");
    return fails_with(SafetensorsFile::open(dir_ / "f", PL_ADAPTER_MISSING_FILE, PL_ADAPTER_CORRUPT).status(),
                      PL_ADAPTER_CORRUPT, expected);
  }
  ::testing::AssertionResult refused(const std::string& header, const std::string& data,
                                     const std::vector<std::string>& texts) {
    return refused(with_length("{" + header + "}", data), texts);
  }

  TempDir dir_;
};

TEST(Safetensors, RoundTrip) {
  const TempDir dir;
  const std::vector<float> a = {1, 2, 3, 4, 5, 6};
  const std::vector<float> b = {-1};
  ASSERT_TRUE(write_safetensors(dir / "f", {{"z", {2, 3}, a.data()}, {"a", {1}, b.data()}, {"none", {0, 4}, b.data()}},
                                {{"format", "pt"}, {"k", "v"}})
                  .ok());
  const Result<SafetensorsFile> file = SafetensorsFile::open(dir / "f", PL_INPUT_MISSING, PL_INPUT_MALFORMED);
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_EQ(file.value().metadata(), (std::map<std::string, std::string>{{"format", "pt"}, {"k", "v"}}));
  ASSERT_EQ(file.value().entries().size(), 3U);
  const SafetensorsEntry* entry = file.value().find("z");
  ASSERT_NE(entry, nullptr);
  EXPECT_EQ(entry->shape, (std::vector<int64_t>{2, 3}));
  std::vector<float> read(6);
  to_float32(*entry, read.data());
  EXPECT_EQ(read, a);
  EXPECT_EQ(file.value().find("none")->numel, 0);
  EXPECT_EQ(file.value().find("y"), nullptr);
}

TEST(Safetensors, ReadsScalarsAndOtherDtypes) {
  const TempDir dir;
  write_text_file(dir / "f",
                  with_length("{" + tensor("s", "I64", "[]", 0, 8) + "," + tensor("b", "BOOL", "[3]", 8, 11) + "}",
                              std::string(11, '\0')));
  const Result<SafetensorsFile> file = SafetensorsFile::open(dir / "f", PL_INPUT_MISSING, PL_INPUT_MALFORMED);
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_EQ(file.value().find("s")->numel, 1);
  EXPECT_EQ(file.value().find("b")->dtype, "BOOL");
}

TEST(Safetensors, NamesAMissingFile) {
  const TempDir dir;
  EXPECT_TRUE(fails_with(SafetensorsFile::open(dir / "f", PL_ADAPTER_MISSING_FILE, PL_ADAPTER_CORRUPT).status(),
                         PL_ADAPTER_MISSING_FILE, {dir / "f"}));
}

TEST_F(HostileFile, HeaderLengths) {
  EXPECT_TRUE(refused("", {"0 bytes"}));
  EXPECT_TRUE(refused(std::string(7, '\0'), {"7 bytes"}));
  EXPECT_TRUE(refused(std::string(8, '\0'), {"not valid JSON"}));
  EXPECT_TRUE(refused(std::string(8, '\xff') + "{}", {"truncated"}));
  EXPECT_TRUE(refused(std::string("\x03\0\0\0\0\0\0\0{}", 10), {"truncated"}));
  std::string huge = with_length("", "");
  huge[3] = 0x7f;
  EXPECT_TRUE(refused(huge, {"truncated"}));
}

TEST_F(HostileFile, AHeaderLongerThanTheCallerExpects) {
  const std::string header = "{" + tensor("a", "U8", "[4]", 0, 4) + "}";
  write_text_file(dir_ / "f", with_length(header, "1234"));
  const auto open = [this](size_t max_header) {
    return SafetensorsFile::open(dir_ / "f", PL_ADAPTER_MISSING_FILE, PL_ADAPTER_CORRUPT, max_header).status();
  };
  EXPECT_TRUE(open(header.size()).ok());
  EXPECT_TRUE(fails_with(open(header.size() - 1), PL_ADAPTER_CORRUPT,
                         {dir_ / "f", "at most " + std::to_string(header.size() - 1)}));
}

TEST_F(HostileFile, HeadersThatAreNotTensors) {
  EXPECT_TRUE(refused(with_length("not json", ""), {"not valid JSON", "column"}));
  EXPECT_TRUE(refused(with_length("[]", ""), {"JSON object"}));
  EXPECT_TRUE(refused("\"a\": 3", "", {"a.dtype"}));
  EXPECT_TRUE(refused("\"__metadata__\": {\"format\": 3}", "", {"__metadata__.format"}));
  EXPECT_TRUE(refused(tensor("a", "F32", "[\"x\"]", 0, 4), "1234", {"a.shape[0]"}));
}

TEST_F(HostileFile, DuplicateKeys) {
  const std::string one = tensor("a", "U8", "[4]", 0, 4);
  EXPECT_TRUE(refused(one + "," + one, "1234", {"\"a\" is given twice"}));
}

TEST_F(HostileFile, UnknownDtype) { EXPECT_TRUE(refused(tensor("a", "F33", "[1]", 0, 4), "1234", {"a", "F33"})); }

TEST_F(HostileFile, Shapes) {
  EXPECT_TRUE(refused(tensor("a", "U8", "[-4]", 0, 4), "1234", {"a", "negative"}));
  EXPECT_TRUE(refused(tensor("a", "F32", "[4611686018427387904, 4]", 0, 4), "1234", {"a", "too large"}));
  EXPECT_TRUE(refused(tensor("a", "F32", "[2]", 0, 4), "1234", {"need 8 bytes", "give 4"}));
}

TEST_F(HostileFile, Offsets) {
  EXPECT_TRUE(refused(tensor("a", "U8", "[8]", 0, 8), "1234", {"within the 4 bytes"}));
  EXPECT_TRUE(refused(tensor("a", "U8", "[2]", -2, 0), "1234", {"within the 4 bytes"}));
  EXPECT_TRUE(refused(tensor("a", "U8", "[2]", 4, 2), "1234", {"within the 4 bytes"}));
  EXPECT_TRUE(refused("\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0]}", "1234", {"[begin, end]"}));
}

TEST_F(HostileFile, OverlapsAndHoles) {
  EXPECT_TRUE(
      refused(tensor("a", "U8", "[4]", 0, 4) + "," + tensor("b", "U8", "[4]", 2, 6), "123456", {"b: overlaps"}));
  EXPECT_TRUE(
      refused(tensor("a", "U8", "[2]", 0, 2) + "," + tensor("b", "U8", "[2]", 4, 6), "123456", {"b: leaves a hole"}));
  EXPECT_TRUE(refused(tensor("a", "U8", "[2]", 0, 2), "1234", {"2 bytes after the last tensor"}));
  EXPECT_TRUE(refused("", "1234", {"4 bytes after the last tensor"}));
}

TEST_F(HostileFile, ListsAllProblems) {
  EXPECT_TRUE(refused(tensor("a", "F33", "[1]", 0, 4) + "," + tensor("b", "U8", "[9]", 0, 9), "1234", {"a: ", "b: "}));
}

}  // namespace
}  // namespace pocketlora
