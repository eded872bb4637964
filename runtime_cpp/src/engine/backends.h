#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bundle/manifest.h"
#include "common/result.h"

namespace pocketlora {

/// @return names of ExecuTorch's delegates in this process that can run now, sorted: "XnnpackBackend".
std::vector<std::string> available_delegates();

/// @return the version of ExecuTorch that the runtime was built with, "1.5.1".
const char* executorch_version();

/// @return what to add to a message about a program that does not load: that another version of ExecuTorch lowered it,
/// or nothing when it was this one.
std::string version_note(const std::string& lowered_by);

/// @return the backends of a bundle, each once, in the manifest's order: best first.
std::vector<std::string> backends_of(const Manifest& manifest);

/// Has the delegates share one workspace, which only grows, instead of one each. Once per process, before programs
/// load.
void share_delegate_memory();

/// How many threads the kernels have: with one, delegates that load from now on have no pool either.
void set_delegate_threads(int64_t threads);

/// What `set_delegate_threads` asked for, while a method is loaded on this thread.
class DelegateThreads {
 public:
  DelegateThreads();
  ~DelegateThreads();
  DelegateThreads(const DelegateThreads&) = delete;
  DelegateThreads& operator=(const DelegateThreads&) = delete;

 private:
  bool before_ = false;
};

/// Chooses which programs of a bundle to run.
/// @param wanted a backend, or "auto": the first of the bundle whose delegates are all available.
/// @return BACKEND_MISSING with what the bundle has and what is available here.
Result<std::string> choose_backend(const Manifest& manifest, const std::string& dir, const std::string& wanted,
                                   const std::vector<std::string>& available);

/// @return why not the backends that come before `chosen`: a line for each that needs a delegate which is not there.
std::string passed_over(const Manifest& manifest, const std::string& chosen, const std::vector<std::string>& available);

}  // namespace pocketlora
