// pocketlora.hpp compiles as C++17 against the shared library alone.
#include <cstdio>
#include <pocketlora/pocketlora.hpp>
#include <string>

int main() {
  int failures = 0;
  const auto expect = [&failures](bool condition, const char* what) {
    if (condition) return;
    std::fprintf(stderr, "failed: %s\n", what);
    ++failures;
  };
  pocketlora::Error problem;
  const pocketlora::EngineHandle engine = pocketlora::open_engine("/nonexistent/bundle", nullptr, &problem);
  expect(!engine, "a missing bundle gives an empty handle");
  expect(problem.status == PL_BUNDLE_MISSING_FILE, "the status says why");
  expect(problem.message.find("/nonexistent/bundle") != std::string::npos, "the message names the bundle");
  return failures;
}
