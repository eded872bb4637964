#include "adapters/adapter_checksums.h"

#include <sys/stat.h>

#include <map>

#include "common/json_access.h"
#include "store/mapped_file.h"
#include "store/sha256.h"

namespace pocketlora {
namespace {

constexpr char kFormat[] = "pocketlora.checksums";
constexpr int64_t kVersion = 1;
const char* const kChecked[] = {"adapter_config.json", "adapter_model.safetensors"};

struct FileFacts {
  int64_t size = 0;
  std::string sha256;
};

/// @return false when there is no such file.
bool file_size(const std::string& path, int64_t* size) {
  struct stat facts = {};
  if (::stat(path.c_str(), &facts) != 0) return false;
  *size = static_cast<int64_t>(facts.st_size);
  return true;
}

Result<std::map<std::string, FileFacts>> read_checksums(const std::string& path) {
  PL_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::open(path, PL_ADAPTER_MISSING_FILE));
  const std::string_view text(reinterpret_cast<const char*>(file.data()), file.size());
  PL_ASSIGN_OR_RETURN(const Json json, parse_json(text, path, PL_ADAPTER_CORRUPT));
  ProblemList problems;
  const JsonNode root(json, "", &problems);
  const std::string kind = root.require_string("format");
  const int64_t version = root.require_int("version");
  std::map<std::string, FileFacts> found;
  for (const JsonNode& entry : root.require_array("files")) {
    found[entry.require_string("path")] = {entry.require_int("size", 0), entry.require_string("sha256")};
  }
  PL_RETURN_IF_ERROR(problems.to_status(PL_ADAPTER_CORRUPT, path + ": not a list of checksums:"));
  if (kind == kFormat && version == kVersion) return found;
  return error(PL_ADAPTER_UNSUPPORTED, "%s: expected %s version %lld, found %s version %lld", path.c_str(), kFormat,
               static_cast<long long>(kVersion), kind.c_str(), static_cast<long long>(version));
}

Status check_file(const std::string& path, const FileFacts& expected, ProblemList* problems) {
  int64_t size = 0;
  if (!file_size(path, &size)) return Status();
  if (size != expected.size) {
    problems->addf("%s: expected %lld bytes, found %lld", path.c_str(), static_cast<long long>(expected.size),
                   static_cast<long long>(size));
    return Status();
  }
  PL_ASSIGN_OR_RETURN(const std::string found, sha256_file(path, PL_ADAPTER_MISSING_FILE));
  if (found != expected.sha256) problems->add(path + ": expected SHA-256 " + expected.sha256 + ", found " + found);
  return Status();
}

}  // namespace

Status add_adapter_checksums(AtomicDirectory* folder) {
  nlohmann::ordered_json files = nlohmann::ordered_json::array();
  for (const std::string& name : folder->names()) {
    int64_t size = 0;
    const std::string path = folder->path_of(name);
    if (!file_size(path, &size)) return error(PL_IO_READ, "%s: it is gone", path.c_str());
    PL_ASSIGN_OR_RETURN(const std::string hash, sha256_file(path, PL_IO_READ));
    files.push_back({{"path", name}, {"size", size}, {"sha256", hash}});
  }
  const nlohmann::ordered_json json = {{"format", kFormat}, {"version", kVersion}, {"files", files}};
  return write_whole_file(folder->add(kAdapterChecksumsFile), json.dump(2) + "\n");
}

Status check_adapter_checksums(const std::string& dir) {
  const std::string path = dir + "/" + kAdapterChecksumsFile;
  struct stat facts = {};
  if (::stat(path.c_str(), &facts) != 0) return Status();
  PL_ASSIGN_OR_RETURN(const auto sums, read_checksums(path));
  ProblemList problems;
  for (const char* name : kChecked) {
    const auto expected = sums.find(name);
    if (expected == sums.end()) {
      problems.add(path + ": does not list " + name);
    } else {
      PL_RETURN_IF_ERROR(check_file(dir + "/" + name, expected->second, &problems));
    }
  }
  return problems.to_status(PL_ADAPTER_CORRUPT, "adapter '" + dir + "' is not as it was written:");
}

}  // namespace pocketlora
