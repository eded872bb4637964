#pragma once

#include <CLI/CLI.hpp>
#include <cctype>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <string>

namespace pocketlora_run {

/// CLI11's own range checks print the largest double as the upper bound; these say what is expected.
inline CLI::Validator number_that(const char* expected, bool (*holds)(double)) {
  const auto check = [expected, holds](std::string& text) {
    double value = 0;
    const bool valid = CLI::detail::lexical_cast(text, value) && holds(value);
    return valid ? std::string() : std::string("expected ") + expected + ", found " + text;
  };
  return CLI::Validator(check, "");
}

inline CLI::Validator not_empty() {
  return CLI::Validator([](std::string& text) { return text.empty() ? std::string("expected some text") : ""; }, "");
}

inline CLI::Validator above_zero() {
  return number_that("a number above 0", [](double value) { return value > 0; });
}
inline CLI::Validator not_negative() {
  return number_that("a number of at least 0", [](double value) { return value >= 0; });
}
inline CLI::Validator probability_below_one() {
  return number_that("a number from 0 to below 1", [](double value) { return value >= 0 && value < 1; });
}
inline CLI::Validator fraction_above_zero() {
  return number_that("a number above 0 and up to 1", [](double value) { return value > 0 && value <= 1; });
}

/// A number of bytes above 0 with a unit or without: 800MB, 1.5GB, 512MiB. Leaves the plain number in the text.
inline CLI::Validator size_in_bytes() {
  const auto convert = [](std::string& text) {
    const std::string expected = "expected a size such as 800MB, 1.5GB or a number of bytes, found " + text;
    char* end = nullptr;
    const double number = std::strtod(text.c_str(), &end);
    std::string unit(end);
    for (char& c : unit) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    const std::map<std::string, double> units = {{"", 1},     {"b", 1},      {"kb", 1e3},        {"mb", 1e6},
                                                 {"gb", 1e9}, {"kib", 1024}, {"mib", 1048576.0}, {"gib", 1073741824.0}};
    const auto found = units.find(unit);
    if (end == text.c_str() || found == units.end()) return expected;
    const double bytes = number * found->second;
    if (!(bytes >= 1 && bytes < 9e18)) return expected;
    text = std::to_string(static_cast<int64_t>(bytes));
    return std::string();
  };
  return CLI::Validator(convert, "SIZE");
}

}  // namespace pocketlora_run
