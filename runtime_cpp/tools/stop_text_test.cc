#include "stop_text.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace pocketlora_run {
namespace {

struct Shown {
  std::string text;
  std::optional<std::string> found;
};

Shown shown(const std::vector<std::string>& stops, const std::vector<std::string>& pieces) {
  StopText stop(stops);
  std::string text;
  for (const std::string& piece : pieces) {
    text += stop.push(piece);
    if (stop.found()) break;
  }
  text += stop.flush();
  return {text, stop.found()};
}

TEST(StopText, HoldsBackWhatMayBeTheBeginningOfOne) {
  StopText stop({"END"});
  EXPECT_EQ(stop.push("aE"), "a");
  EXPECT_EQ(stop.push("N"), "");
  EXPECT_EQ(stop.push("EN"), "EN");
  EXPECT_EQ(stop.push("D and more"), "");
  EXPECT_EQ(stop.found(), "END");
  EXPECT_EQ(stop.push("x"), "");
  EXPECT_EQ(stop.flush(), "");
}

TEST(StopText, WhatWasHeldBackAppearsAtTheEnd) {
  EXPECT_EQ(shown({"END"}, {"one E", "N"}).text, "one EN");
  EXPECT_EQ(shown({}, {"one", " two"}).text, "one two");
}

TEST(StopText, TheOneThatBeginsFirstEndsTheText) {
  EXPECT_EQ(shown({"abcd", "bc"}, {"xab", "c", "d"}).text, "x");
  EXPECT_EQ(shown({"abcd", "bc"}, {"xab", "c", "e"}).text, "xa");
  EXPECT_EQ(shown({"User:", "Use"}, {"Us", "er:"}).found, "Use");
}

TEST(StopText, RandomTextsEndWhereTheFirstStopStringBegins) {
  std::mt19937 random(5);
  const auto text_of = [&random](const std::string& letters, size_t length) {
    std::string text;
    while (text.size() < length) text += letters[random() % letters.size()];
    return text;
  };
  for (int round = 0; round < 3000; ++round) {
    std::vector<std::string> stops;
    for (size_t i = 0; i <= random() % 3; ++i) stops.push_back(text_of("ab", 1 + random() % 4));
    const std::string text = text_of("abc", random() % 20);
    std::vector<std::string> pieces;
    for (size_t at = 0; at < text.size();) {
      pieces.push_back(text.substr(at, 1 + random() % 4));
      at += pieces.back().size();
    }
    size_t expected = text.size();
    for (const std::string& stop : stops) expected = std::min(expected, text.find(stop));
    const Shown found = shown(stops, pieces);
    ASSERT_EQ(found.text, text.substr(0, expected)) << text;
    ASSERT_EQ(found.found.has_value(), expected < text.size()) << text;
  }
}

}  // namespace
}  // namespace pocketlora_run
