#include "engine/backends.h"

#include <executorch/extension/threadpool/threadpool_guard.h>
#include <executorch/runtime/backend/interface.h>
#include <executorch/runtime/backend/options.h>

#include <algorithm>
#include <atomic>
#include <set>

namespace pocketlora {
namespace {

using executorch::extension::threadpool::NoThreadPoolGuard;

std::atomic<int64_t> delegate_threads{0};

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

std::string listed(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text.empty() ? "none" : text;
}

/// Delegates that the programs of a backend need and that are not here, each once. Constants are nothing that this
/// runtime binds: such programs are for others.
std::vector<std::string> missing_delegates(const Manifest& manifest, const std::string& backend,
                                           const std::vector<std::string>& available) {
  std::set<std::string> missing;
  for (const ProgramSpec& program : manifest.programs) {
    if (program.backend != backend) continue;
    if (!program.constants.empty()) missing.insert("constants of delegates");
    for (const std::string& name : program.delegates) {
      if (!contains(available, name)) missing.insert(name);
    }
  }
  return {missing.begin(), missing.end()};
}

/// The numeric part: a wheel's "1.5.1+cpu" and "1.5.1" are the same. A source build may not tell its version.
std::string release(const std::string& version) { return version.substr(0, version.find('+')); }

}  // namespace

std::vector<std::string> available_delegates() {
  std::vector<std::string> names;
  for (size_t i = 0; i < executorch::runtime::get_num_registered_backends(); ++i) {
    const auto name = executorch::runtime::get_backend_name(i);
    if (!name.ok()) continue;
    const auto* delegate = executorch::runtime::get_backend_class(*name);
    if (delegate != nullptr && delegate->is_available()) names.emplace_back(*name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

void share_delegate_memory() {
  // The names are XNNPACK's; 2 = one workspace for all delegates, which then run one at a time (as stages do anyway).
  constexpr const char* kXnnpack = "XnnpackBackend";
  if (executorch::runtime::get_backend_class(kXnnpack) == nullptr) return;
  executorch::runtime::BackendOptions<1> options;
  if (options.set_option("workspace_sharing_mode", 2) != executorch::runtime::Error::Ok) return;
  // A version without the option keeps a workspace for each delegate: more memory, the same results.
  (void)executorch::runtime::set_option(kXnnpack, options.view());
}

void set_delegate_threads(int64_t threads) { delegate_threads.store(threads); }

DelegateThreads::DelegateThreads() : before_(NoThreadPoolGuard::is_enabled()) {
  if (delegate_threads.load() == 1) NoThreadPoolGuard::set_enabled(true);
}

DelegateThreads::~DelegateThreads() { NoThreadPoolGuard::set_enabled(before_); }

const char* executorch_version() { return POCKETLORA_EXECUTORCH_VERSION; }

std::string version_note(const std::string& lowered_by) {
  const std::string own = release(executorch_version());
  if (own.empty() || release(lowered_by) == own) return "";
  return ". It was lowered with ExecuTorch " + lowered_by + ", this runtime has " + executorch_version() +
         ": export the bundle again with that version";
}

std::vector<std::string> backends_of(const Manifest& manifest) {
  std::vector<std::string> names;
  for (const ProgramSpec& program : manifest.programs) {
    if (!contains(names, program.backend)) names.push_back(program.backend);
  }
  return names;
}

Result<std::string> choose_backend(const Manifest& manifest, const std::string& dir, const std::string& wanted,
                                   const std::vector<std::string>& available) {
  const std::vector<std::string> present = backends_of(manifest);
  const bool any = wanted == "auto";
  if (!any && !contains(present, wanted)) {
    return error(PL_BACKEND_MISSING, "bundle '%s' has no programs for backend '%s': it has %s", dir.c_str(),
                 wanted.c_str(), listed(present).c_str());
  }
  std::string missing;
  for (const std::string& backend : present) {
    if (!any && backend != wanted) continue;
    const std::vector<std::string> absent = missing_delegates(manifest, backend, available);
    if (absent.empty()) return backend;
    missing += (missing.empty() ? "" : "; ") + ("'" + backend + "' needs " + listed(absent));
  }
  if (present.empty()) return error(PL_BACKEND_MISSING, "bundle '%s' has no programs", dir.c_str());
  return error(PL_BACKEND_MISSING, "bundle '%s': backend %s, which this build of the runtime does not have: it has %s",
               dir.c_str(), missing.c_str(), listed(available).c_str());
}

std::string passed_over(const Manifest& manifest, const std::string& chosen,
                        const std::vector<std::string>& available) {
  std::string lines;
  for (const std::string& backend : backends_of(manifest)) {
    if (backend == chosen) break;
    const std::vector<std::string> absent = missing_delegates(manifest, backend, available);
    if (absent.empty()) continue;
    lines += "backend '" + backend + "' needs " + listed(absent) + ", which this build of the runtime does not have\n";
  }
  return lines;
}

}  // namespace pocketlora
