#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <pocketlora/pocketlora.hpp>
#include <string>
#include <vector>

namespace pocketlora {

/// A bundle made by the toolchain, named by the environment variable POCKETLORA_TEST_BUNDLE; its tests are skipped
/// without one.
class BundleTest : public ::testing::Test {
 protected:
  void SetUp() override;

  /// A row of tokens that depends on `seed` only.
  std::vector<int64_t> some_tokens(size_t count, uint64_t seed) const;
  std::vector<float> empty_logits() const { return std::vector<float>(static_cast<size_t>(info_.vocab_size)); }
  SessionHandle new_session() const;
  /// An adapter trained for a few steps on `some_tokens(…, seed)`.
  AdapterHandle train_adapter(uint64_t seed, int steps = 3) const;

  std::string dir_;
  EngineHandle engine_;
  pl_engine_info info_{};
};

/// A packed micro-batch that owns its arrays.
struct TestBatch {
  std::vector<int64_t> tokens, labels, segments;

  explicit TestBatch(std::vector<std::vector<int64_t>> rows);
  pl_batch view() const;
};

pl_trainer_options small_trainer(float learning_rate);

}  // namespace pocketlora

/// Succeeds when a C call returns PL_OK; shows its message otherwise.
#define EXPECT_PL_OK(call)                                                                         \
  do {                                                                                             \
    const pl_status pl_test_status = (call);                                                       \
    EXPECT_EQ(pl_test_status, PL_OK) << pl_status_name(pl_test_status) << ": " << pl_last_error(); \
  } while (false)
