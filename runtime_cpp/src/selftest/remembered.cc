#include "selftest/remembered.h"

#include <sys/utsname.h>
#include <unistd.h>

#if defined(__ANDROID__)
#include <sys/system_properties.h>
#endif

#include "common/json_access.h"
#include "engine/backends.h"
#include "store/atomic_file.h"
#include "store/mapped_file.h"
#include "store/sha256.h"

namespace pocketlora {
namespace {

constexpr const char* kPassed = "passed";
constexpr const char* kFailed = "failed";
constexpr const char* kRunning = "running";

/// Changes with the system's version, which brings the drivers.
std::string system_version() {
  std::string text;
  utsname name = {};
  if (::uname(&name) == 0) text = std::string(name.sysname) + " " + name.release + " " + name.machine;
#if defined(__ANDROID__)
  char build[PROP_VALUE_MAX] = {};
  __system_property_get("ro.build.fingerprint", build);
  text += std::string(" ") + build;
#endif
  return text;
}

std::string file_name(const Engine& engine) {
  const std::string key = engine.manifest().text + "\n" + engine.backend() + "\n" + pl_version() + "\n" +
                          executorch_version() + "\n" + system_version();
  const std::string hash = sha256_hex(ByteSpan(reinterpret_cast<const uint8_t*>(key.data()), key.size()));
  return "self-test-" + engine.backend() + "-" + hash.substr(0, 16) + ".json";
}

}  // namespace

RememberedSelfTest::RememberedSelfTest(const std::string& dir, const Engine& engine)
    : path_(dir.empty() ? "" : dir + "/" + file_name(engine)), backend_(engine.backend()) {}

std::optional<Status> RememberedSelfTest::outcome() const {
  if (path_.empty()) return std::nullopt;
  const Result<MappedFile> file = MappedFile::open(path_, PL_INPUT_MISSING);
  if (!file.ok()) return std::nullopt;
  const std::string text(reinterpret_cast<const char*>(file.value().data()), file.value().size());
  const Result<Json> json = parse_json(text, path_, PL_INPUT_MALFORMED);
  if (!json.ok()) return std::nullopt;
  ProblemList problems;
  const JsonNode root(json.value(), "", &problems);
  const std::string state = root.optional_string("state", ""), message = root.optional_string("message", "");
  if (state == kPassed) return Status();
  if (state == kRunning) {
    return error(PL_BACKEND_SELF_TEST,
                 "backend '%s': its last self-test did not come to an end. Delete %s to have it try again",
                 backend_.c_str(), path_.c_str());
  }
  if (state != kFailed) return std::nullopt;
  return error(PL_BACKEND_SELF_TEST, "%s (found earlier; delete %s to have it try again)", message.c_str(),
               path_.c_str());
}

Status RememberedSelfTest::begin() const { return write(kRunning, ""); }

Status RememberedSelfTest::end(const Status& outcome) const {
  return write(outcome.ok() ? kPassed : kFailed, outcome.message());
}

void RememberedSelfTest::forget() const {
  if (!path_.empty()) ::unlink(path_.c_str());
}

Status RememberedSelfTest::write(const char* state, const std::string& message) const {
  if (path_.empty()) return Status();
  PL_RETURN_IF_ERROR(make_parent_directories(path_));
  const Json json = {{"state", state}, {"backend", backend_}, {"message", message}};
  return write_whole_file(path_, json.dump(1) + "\n");
}

}  // namespace pocketlora
