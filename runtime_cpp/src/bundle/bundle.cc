#include "bundle/bundle.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <set>
#include <utility>

#include "store/sha256.h"

namespace pocketlora {
namespace {

Result<std::string> read_text(const std::string& path) {
  PL_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::open(path, PL_BUNDLE_MISSING_FILE));
  return std::string(reinterpret_cast<const char*>(file.data()), file.size());
}

Status check_dir(const std::string& dir) {
  struct stat info = {};
  if (::stat(dir.c_str(), &info) != 0) {
    return error(PL_BUNDLE_MISSING_FILE, "bundle '%s': %s", dir.c_str(), std::strerror(errno));
  }
  if (!S_ISDIR(info.st_mode)) return error(PL_BUNDLE_MISSING_FILE, "bundle '%s' is not a folder", dir.c_str());
  return Status();
}

/// manifest.sha256 is a line of sha256sum: "<64 hex digits>  manifest.json".
Status check_manifest_hash(const std::string& dir, const std::string& text) {
  PL_ASSIGN_OR_RETURN(const std::string line, read_text(dir + "/manifest.sha256"));
  const std::string found = sha256_hex(ByteSpan(reinterpret_cast<const uint8_t*>(text.data()), text.size()));
  if (line.substr(0, 64) == found) return Status();
  return error(PL_BUNDLE_CORRUPT, "%s/manifest.json: SHA-256 is %s, manifest.sha256 says %s", dir.c_str(),
               found.c_str(), line.substr(0, 64).c_str());
}

/// Notes the first thing wrong with one file. @return its status code, OK for nothing.
pl_status check_file(const std::string& dir, const FileSpec& file, bool hash, ProblemList* problems) {
  struct stat info = {};
  const std::string path = dir + "/" + file.path;
  if (::stat(path.c_str(), &info) != 0 || !S_ISREG(info.st_mode)) {
    problems->add(file.path + ": missing");
    return PL_BUNDLE_MISSING_FILE;
  }
  if (info.st_size != file.size) {
    problems->addf("%s: expected %lld bytes, found %lld", file.path.c_str(), static_cast<long long>(file.size),
                   static_cast<long long>(info.st_size));
    return PL_BUNDLE_CORRUPT;
  }
  if (!hash) return PL_OK;
  const Result<std::string> found = sha256_file(path, PL_BUNDLE_MISSING_FILE);
  if (!found.ok()) {
    problems->add(file.path + ": " + found.status().message());
    return found.status().code();
  }
  if (found.value() == file.sha256) return PL_OK;
  problems->add(file.path + ": expected SHA-256 " + file.sha256 + ", found " + found.value());
  return PL_BUNDLE_CORRUPT;
}

Status check_files(const std::string& dir, const Manifest& manifest, const BundleOptions& options) {
  ProblemList problems;
  std::set<pl_status> codes;
  for (const FileSpec& file : manifest.files) {
    const bool hash = file.path != manifest.base_file || options.verify_base;
    codes.insert(check_file(dir, file, hash, &problems));
  }
  // What is missing comes first, then what is damaged; only what could not be read is no damage.
  pl_status code = codes.count(PL_BUNDLE_CORRUPT) > 0 ? PL_BUNDLE_CORRUPT : PL_IO_READ;
  if (codes.count(PL_BUNDLE_MISSING_FILE) > 0) code = PL_BUNDLE_MISSING_FILE;
  const bool damaged = code != PL_IO_READ;
  return problems.to_status(code, "bundle '" + dir + (damaged ? "' is damaged:" : "' cannot be read:"));
}

}  // namespace

Result<Bundle> Bundle::open(const std::string& dir, const BundleOptions& options) {
  PL_RETURN_IF_ERROR(check_dir(dir));
  PL_ASSIGN_OR_RETURN(std::string text, read_text(dir + "/manifest.json"));
  PL_RETURN_IF_ERROR(check_manifest_hash(dir, text));
  PL_ASSIGN_OR_RETURN(Manifest manifest, parse_manifest(std::move(text), dir + "/manifest.json"));
  PL_RETURN_IF_ERROR(check_files(dir, manifest, options));
  PL_ASSIGN_OR_RETURN(BaseMap base, BaseMap::open(dir + "/" + manifest.base_file, manifest));
  return Bundle(dir, std::move(manifest), std::move(base));
}

}  // namespace pocketlora
