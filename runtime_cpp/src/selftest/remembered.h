#pragma once

#include <optional>
#include <string>

#include "common/result.h"
#include "engine/engine.h"

namespace pocketlora {

/// What a self-test said about one bundle, one backend, this version of the runtime and this version of the system,
/// drivers included: a file of its own, outside the bundle.
class RememberedSelfTest {
 public:
  /// @param dir made when needed; empty = nothing is remembered.
  RememberedSelfTest(const std::string& dir, const Engine& engine);

  /// OK = it passed; an error = it failed, and how; nothing = it never ran, or what was written cannot be read. A test
  /// that began and did not end has taken its process with it: it failed.
  std::optional<Status> outcome() const;
  /// Before a test begins.
  Status begin() const;
  /// @param outcome OK, or a failure that is the backend's.
  Status end(const Status& outcome) const;
  /// After a failure that says nothing about the backend.
  void forget() const;

 private:
  Status write(const char* state, const std::string& message) const;

  std::string path_, backend_;
};

}  // namespace pocketlora
