#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "common/result.h"

namespace pocketlora {

/// A folder of its own for one test, removed with everything in it at the end.
class TempDir {
 public:
  TempDir() {
    std::string pattern = (std::filesystem::temp_directory_path() / "pocketlora-test-XXXXXX").string();
    const char* made = ::mkdtemp(pattern.data());
    EXPECT_NE(made, nullptr);
    path_ = pattern;
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  /// The number of entries: finds temporary files that were left behind.
  size_t num_entries() const {
    return static_cast<size_t>(
        std::distance(std::filesystem::directory_iterator(path_), std::filesystem::directory_iterator()));
  }

 private:
  std::string path_;
};

inline void write_text_file(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary).write(text.data(), static_cast<std::streamsize>(text.size()));
}

inline std::string read_text_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

/// Passes when the status has this code and its message holds every one of the texts.
inline ::testing::AssertionResult fails_with(const Status& status, pl_status code,
                                             const std::vector<std::string>& texts = {}) {
  if (status.code() != code) {
    return ::testing::AssertionFailure() << "expected " << status_name(code) << ", found " << status_name(status.code())
                                         << ": " << status.message();
  }
  for (const std::string& text : texts) {
    if (status.message().find(text) == std::string::npos) {
      return ::testing::AssertionFailure() << "\"" << text << "\" is not in: " << status.message();
    }
  }
  return ::testing::AssertionSuccess();
}

}  // namespace pocketlora
