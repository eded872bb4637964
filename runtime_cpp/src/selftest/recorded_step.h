#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "common/result.h"
#include "engine/engine.h"

namespace pocketlora {

/// What the self-test computes: docs/self-test.md.
struct SelfTestInput {
  std::vector<int64_t> tokens;    ///< all of them are labels, too
  std::vector<int64_t> segments;  ///< offsets, 0 … tokens
  int64_t rank = 0;
  uint64_t seed = 0;  ///< of the adapter's A and B
};

/// And what comes out.
struct SelfTestOutcome {
  double loss = 0.0;
  std::vector<double> gradient_norms;  ///< L2, of A and B of a layer together, one a layer
  double prefill_norm = 0.0, decode_norm = 0.0;
  std::vector<double> prefill_logits, decode_logits;  ///< of the first segment's last two tokens, at some ids
};

struct SelfTestRecord {
  SelfTestInput input;
  SelfTestOutcome outcome;
};

/// Tokens that a seed gives, in two segments where the programs allow that.
SelfTestInput self_test_input(const Manifest& manifest);

/// Forward and backward of a training step with a small adapter, then prefill and decode with it, all by the engine's
/// programs, in fp32 where the runtime has the choice.
/// @return INVALID_ARGUMENT for an input that does not fit the bundle; otherwise what training and sessions return.
Result<SelfTestOutcome> run_self_test(const std::shared_ptr<Engine>& engine, const SelfTestInput& input);

/// @param tolerance relative: of the loss, of a layer's gradients, of all logits together.
/// @return BACKEND_SELF_TEST with everything that is further off, or not finite.
Status compare_self_test(const SelfTestOutcome& expected, const SelfTestOutcome& found, double tolerance,
                         const std::string& what);

}  // namespace pocketlora
