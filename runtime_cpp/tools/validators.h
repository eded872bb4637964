#pragma once

#include <CLI/CLI.hpp>
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

}  // namespace pocketlora_run
