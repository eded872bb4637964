#include "output_folder.h"

#include <unistd.h>

#include <filesystem>
#include <system_error>

#include "tool_error.h"

namespace pocketlora_run {
namespace {

namespace fs = std::filesystem;

// The folder itself, or the first of its parents that exists.
fs::path nearest_existing(fs::path path) {
  std::error_code ignored;
  while (!fs::exists(path, ignored) && path.has_parent_path() && path != path.parent_path()) path = path.parent_path();
  return path;
}

}  // namespace

void check_output(const std::string& output, bool force) {
  std::error_code failure;
  const fs::path path = fs::absolute(output, failure);
  if (fs::exists(path, failure) && !fs::is_directory(path, failure)) {
    throw ToolError(PL_INVALID_ARGUMENT, "--output " + output + ": expected a folder, found a file");
  }
  if (fs::is_symlink(path, failure) && !fs::exists(path, failure)) {
    throw ToolError(PL_INVALID_ARGUMENT,
                    "--output " + output + ": expected a folder, found a symbolic link to nothing");
  }
  const bool adapter =
      fs::exists(path / "adapter_config.json", failure) || fs::exists(path / "adapter_model.safetensors", failure);
  if (adapter && !force) {
    throw ToolError(PL_INVALID_ARGUMENT,
                    "--output " + output + " already holds an adapter; choose another folder, or use --force");
  }
  if (!adapter && fs::is_directory(path, failure) && !fs::is_empty(path, failure)) {
    throw ToolError(PL_INVALID_ARGUMENT, "--output " + output + " is not empty; choose a new folder");
  }
  const fs::path nearest = nearest_existing(path);
  if (!fs::is_directory(nearest, failure) || ::access(nearest.c_str(), W_OK | X_OK) != 0) {
    throw ToolError(PL_IO_WRITE,
                    "--output " + output + " cannot be created: " + nearest.string() + " is not a writable folder");
  }
}

}  // namespace pocketlora_run
