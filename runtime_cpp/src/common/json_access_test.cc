#include "common/json_access.h"

#include "common/test_support.h"

namespace pocketlora {
namespace {

TEST(ParseJson, NamesTheFileAndThePlace) {
  EXPECT_TRUE(fails_with(parse_json("{\"a\": }", "f.json", PL_INPUT_MALFORMED).status(), PL_INPUT_MALFORMED,
                         {"f.json", "line 1, column 7"}));
  EXPECT_TRUE(fails_with(parse_json("", "f.json", PL_BUNDLE_CORRUPT).status(), PL_BUNDLE_CORRUPT, {"f.json"}));
  EXPECT_TRUE(fails_with(parse_json("{} {}", "f.json", PL_BUNDLE_CORRUPT).status(), PL_BUNDLE_CORRUPT, {"f.json"}));
  EXPECT_TRUE(fails_with(parse_json("\"\xff\"", "f.json", PL_BUNDLE_CORRUPT).status(), PL_BUNDLE_CORRUPT, {"UTF-8"}));
}

TEST(ParseJson, RefusesKeysGivenTwice) {
  EXPECT_TRUE(parse_json(R"({"a": {"b": 1}, "c": {"b": 1}})", "f", PL_BUNDLE_CORRUPT).ok());
  EXPECT_TRUE(fails_with(parse_json(R"({"c": [{"b": 1, "b": 2}]})", "f", PL_BUNDLE_CORRUPT).status(), PL_BUNDLE_CORRUPT,
                         {"\"b\" is given twice"}));
}

TEST(ParseJson, SurvivesDeepNesting) {
  const std::string deep(100000, '[');
  EXPECT_FALSE(parse_json(deep, "f", PL_BUNDLE_CORRUPT).ok());
}

TEST(JsonNode, ReadsWhatIsThere) {
  const Json json =
      Json::parse(R"({"i": 3, "d": 0.5, "b": true, "s": "x", "o": {"k": 1}, "a": [1, 2], "t": ["u"], "n": null})");
  ProblemList problems;
  const JsonNode node(json, "", &problems);
  EXPECT_EQ(node.require_int("i", 1, 3), 3);
  EXPECT_EQ(node.require_number("d"), 0.5);
  EXPECT_TRUE(node.require_bool("b"));
  EXPECT_EQ(node.require_string("s"), "x");
  EXPECT_EQ(node.require_object("o").require_int("k"), 1);
  EXPECT_EQ(node.require_ints("a"), (std::vector<int64_t>{1, 2}));
  EXPECT_EQ(node.require_strings("t"), std::vector<std::string>{"u"});
  EXPECT_EQ(node.optional_int("n", 8), 8);
  EXPECT_EQ(node.optional_string("absent", "y"), "y");
  EXPECT_FALSE(node.has("n"));
  EXPECT_TRUE(problems.empty());
}

TEST(JsonNode, NotesEveryProblemWithItsPath) {
  const Json json = Json::parse(R"({"o": {"i": "x", "big": 18446744073709551615}, "a": [1, "y"], "f": 1.5})");
  ProblemList problems;
  const JsonNode node(json, "", &problems);
  node.require_object("o").require_int("i");
  node.require_object("o").require_int("big");
  node.require_object("o").require_string("absent");
  node.require_ints("a");
  node.require_int("f");
  node.require_int("o");
  node.require_array("o");
  EXPECT_TRUE(
      fails_with(problems.to_status(PL_BUNDLE_CORRUPT, "bad"), PL_BUNDLE_CORRUPT,
                 {"o.i: expected a 64-bit integer, found a string", "o.big: expected a 64-bit integer",
                  "o.absent: expected a string, found nothing", "a[1]: expected a 64-bit integer, found a string",
                  "f: expected a 64-bit integer, found a number with a fraction", "o: expected an array"}));
  EXPECT_EQ(problems.size(), 7U);
}

TEST(JsonNode, ChecksRanges) {
  const Json json = Json::parse(R"({"i": -1})");
  ProblemList problems;
  EXPECT_EQ(JsonNode(json, "root", &problems).require_int("i", 0, 9), 0);
  EXPECT_TRUE(fails_with(problems.to_status(PL_BUNDLE_CORRUPT, ""), PL_BUNDLE_CORRUPT,
                         {"root.i: expected at least 0 and at most 9, found -1"}));
}

}  // namespace
}  // namespace pocketlora
