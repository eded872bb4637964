#include "selftest/checked_open.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "engine/backends.h"
#include "selftest/recorded_step.h"
#include "selftest/recorded_step_file.h"
#include "selftest/remembered.h"

namespace pocketlora {
namespace {

/// All arithmetic is fp32: rounding of thousands of products in a row stays below it (docs/testing.md), a wrong one
/// does not.
constexpr double kTolerance = 1e-3;

bool has_delegates(const Engine& engine) {
  const auto& programs = engine.manifest().programs;
  return std::any_of(programs.begin(), programs.end(), [&](const ProgramSpec& program) {
    return program.backend == engine.backend() && !program.delegates.empty();
  });
}

bool wanted(const Engine& engine, pl_self_test when) {
  if (when == PL_SELF_TEST_NEVER || !has_self_test(engine.manifest())) return false;
  return when == PL_SELF_TEST_ALWAYS || has_delegates(engine);
}

/// A failure that is the backend's, not one of memory or files.
bool is_backends(const Status& status) { return status.code() / 100 == PL_BACKEND_MISSING / 100; }

/// Runs the test and remembers what it said.
Status test(const std::shared_ptr<Engine>& engine, const RememberedSelfTest& memory) {
  PL_RETURN_IF_ERROR(memory.begin());
  Status outcome = check_engine(engine);
  if (outcome.ok() || is_backends(outcome)) {
    PL_RETURN_IF_ERROR(memory.end(outcome));
  } else {
    memory.forget();
  }
  return outcome;
}

/// Backends of the bundle behind the one that an engine runs.
std::vector<std::string> others_after(const Engine& engine) {
  std::vector<std::string> names = backends_of(engine.manifest());
  const auto own = std::find(names.begin(), names.end(), engine.backend());
  if (own != names.end()) names.erase(names.begin(), own + 1);
  return names;
}

/// What to tell about backends that come before the one that runs. @param failed a self-test's message, or "".
std::string note_of(const Engine& engine, const EngineOptions& options, const std::string& failed) {
  if (options.backend != "auto") return "";
  std::string note = passed_over(engine.manifest(), engine.backend(), available_delegates());
  if (!failed.empty()) note += failed + "\n";
  return note.empty() ? note : note + "'" + engine.backend() + "' runs instead";
}

/// One backend. @param engine what was opened, also when its test fails.
Status open_one(const std::string& dir, const EngineOptions& options, const SelfTestPolicy& policy,
                std::shared_ptr<Engine>* engine) {
  PL_ASSIGN_OR_RETURN(*engine, Engine::open(dir, options));
  if (!wanted(**engine, policy.when)) return Status();
  const RememberedSelfTest memory(policy.state_dir, **engine);
  if (policy.when == PL_SELF_TEST_AUTO) {
    if (std::optional<Status> known = memory.outcome()) return *std::move(known);
  }
  PL_RETURN_IF_ERROR(test(*engine, memory));
  // The test has touched arenas and loaded methods; what is handed out has not.
  engine->reset();
  EngineOptions again = options;
  again.verify_base = false;  // it was just hashed, if asked for
  PL_ASSIGN_OR_RETURN(*engine, Engine::open(dir, again));
  return Status();
}

}  // namespace

Status check_engine(const std::shared_ptr<Engine>& engine) {
  PL_ASSIGN_OR_RETURN(const SelfTestRecord record, read_self_test(engine->bundle()));
  const std::string what =
      "backend '" + engine->backend() + "' of bundle '" + engine->bundle().dir() + "' fails the bundle's self-test:";
  Result<SelfTestOutcome> found = run_self_test(engine, record.input);
  if (found.ok()) return compare_self_test(record.outcome, found.value(), kTolerance, what);
  if (!is_backends(found.status())) return found.status();
  return Status(PL_BACKEND_SELF_TEST, what + " " + found.status().message());
}

Result<CheckedEngine> open_checked(const std::string& dir, const EngineOptions& options, const SelfTestPolicy& policy) {
  std::shared_ptr<Engine> engine;
  Status status = open_one(dir, options, policy, &engine);
  if (status.ok()) {
    std::string note = note_of(*engine, options, "");
    return CheckedEngine{std::move(engine), std::move(note)};
  }
  if (engine == nullptr || options.backend != "auto" || status.code() != PL_BACKEND_SELF_TEST) return status;
  const Status first = status;
  for (const std::string& backend : others_after(*engine)) {
    EngineOptions next = options;
    next.backend = backend;
    engine.reset();
    status = open_one(dir, next, policy, &engine);
    if (status.ok()) {
      std::string note = note_of(*engine, options, first.message());
      return CheckedEngine{std::move(engine), std::move(note)};
    }
    if (!is_backends(status)) return status;
  }
  return first;
}

}  // namespace pocketlora
