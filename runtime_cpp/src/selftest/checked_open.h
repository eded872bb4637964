#pragma once

#include <memory>
#include <string>

#include "common/result.h"
#include "engine/engine.h"

namespace pocketlora {

struct SelfTestPolicy {
  pl_self_test when = PL_SELF_TEST_AUTO;
  std::string state_dir;  ///< where outcomes are remembered; empty = nowhere
};

struct CheckedEngine {
  std::shared_ptr<Engine> engine;
  std::string note;  ///< why it is not the backend that the bundle lists first, "" when it is
};

/// Engine::open(), then the bundle's self-test where the policy asks for it. Where the caller left the choice of the
/// backend open ("auto"), one that fails is passed over for the next of the bundle.
/// @return BACKEND_SELF_TEST when none is left, or for the one that was asked for.
Result<CheckedEngine> open_checked(const std::string& dir, const EngineOptions& options, const SelfTestPolicy& policy);

/// Runs an opened engine's self-test now. @return BACKEND_SELF_TEST, or INVALID_STATE when the bundle has none.
Status check_engine(const std::shared_ptr<Engine>& engine);

}  // namespace pocketlora
