#include "selftest/recorded_step.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <limits>
#include <string>

#include "capi/bundle_test_support.h"
#include "common/test_support.h"
#include "selftest/checked_open.h"
#include "selftest/recorded_step_file.h"
#include "selftest/remembered.h"

namespace pocketlora {
namespace {

SelfTestRecord some_record() {
  return {{{3, 1, 4, 1, 5}, {0, 3, 5}, 2, 7}, {2.5, {0.25, 0.5}, 8.0, 4.0, {1.0, -2.0}, {0.5, 0.125}}};
}

TEST(SelfTestFile, IsReadAsItWasWritten) {
  const SelfTestRecord record = some_record();
  const std::string text = self_test_text(record);
  const auto read = parse_self_test(text, "self_test.json");
  ASSERT_TRUE(read.ok()) << read.status().message();
  EXPECT_EQ(self_test_text(read.value()), text);
  EXPECT_EQ(read.value().input.segments, record.input.segments);
}

TEST(SelfTestFile, EverythingWrongIsTold) {
  const auto read = parse_self_test(R"({"format": "pocketlora.self-test", "version": 1, "input": {"tokens": [1],
      "segments": "none", "rank": 0, "seed": 1}, "outcome": {"loss": "low"}})",
                                    "self_test.json");
  ASSERT_FALSE(read.ok());
  EXPECT_EQ(read.status().code(), PL_BUNDLE_CORRUPT);
  for (const char* part : {"input.segments", "input.rank", "outcome.loss", "outcome.decode_logits"}) {
    EXPECT_NE(read.status().message().find(part), std::string::npos) << read.status().message();
  }
}

TEST(SelfTestFile, ALaterVersionIsRefused) {
  std::string text = self_test_text(some_record());
  const size_t at = text.find("\"version\": 1");
  ASSERT_NE(at, std::string::npos);
  text.replace(at, 12, "\"version\": 2");
  EXPECT_EQ(parse_self_test(text, "self_test.json").status().code(), PL_BUNDLE_VERSION);
}

TEST(SelfTestComparison, WhatIsWithinTheToleranceIsEqual) {
  const SelfTestOutcome expected = some_record().outcome;
  SelfTestOutcome found = expected;
  found.loss *= 1.0 + 0.9e-3;
  found.gradient_norms[1] *= 1.0 - 0.9e-3;
  found.decode_logits[1] += 0.9e-3 * expected.decode_norm;
  EXPECT_TRUE(compare_self_test(expected, found, 1e-3, "x").ok());
}

TEST(SelfTestComparison, EverythingThatIsOffIsTold) {
  const SelfTestOutcome expected = some_record().outcome;
  SelfTestOutcome found = expected;
  found.loss *= 1.002;
  found.gradient_norms[1] = std::numeric_limits<double>::quiet_NaN();
  found.prefill_logits[0] = -1.0;
  found.decode_logits.pop_back();
  const Status status = compare_self_test(expected, found, 1e-3, "backend 'x':");
  EXPECT_EQ(status.code(), PL_BACKEND_SELF_TEST);
  for (const char* part : {"loss", "gradient norm of layer 1", "prefill logit 0", "decode logit"}) {
    EXPECT_NE(status.message().find(part), std::string::npos) << status.message();
  }
  EXPECT_EQ(status.message().find("layer 0"), std::string::npos) << status.message();
}

TEST(SelfTestComparison, ALogitThatIsNotANumberIsOff) {
  const SelfTestOutcome expected = some_record().outcome;
  SelfTestOutcome found = expected;
  found.prefill_logits[1] = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(compare_self_test(expected, found, 1e-3, "x").code(), PL_BACKEND_SELF_TEST);
}

class SelfTest : public BundleTest {
 protected:
  std::shared_ptr<Engine> open() const {
    EngineOptions options;
    options.num_threads = 1;
    auto engine = Engine::open(dir_, options);
    EXPECT_TRUE(engine.ok()) << engine.status().message();
    return std::move(engine).value();
  }
};

TEST_F(SelfTest, TheSameEngineGivesTheSameOutcome) {
  const std::shared_ptr<Engine> engine = open();
  const SelfTestInput input = self_test_input(engine->manifest());
  EXPECT_GE(input.segments.size(), 2U);
  const auto first = run_self_test(engine, input), second = run_self_test(engine, input);
  ASSERT_TRUE(first.ok()) << first.status().message();
  ASSERT_TRUE(second.ok()) << second.status().message();
  EXPECT_TRUE(compare_self_test(first.value(), second.value(), 0.0, "again:").ok());
  for (const double norm : first.value().gradient_norms) EXPECT_GT(norm, 0.0);
}

TEST_F(SelfTest, AnotherAdapterGivesAnotherOutcome) {
  const std::shared_ptr<Engine> engine = open();
  SelfTestInput input = self_test_input(engine->manifest());
  const auto first = run_self_test(engine, input);
  ++input.seed;
  const auto second = run_self_test(engine, input);
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_EQ(compare_self_test(first.value(), second.value(), 1e-3, "x").code(), PL_BACKEND_SELF_TEST);
}

TEST_F(SelfTest, AnInputOfAnotherBundleIsRefused) {
  const std::shared_ptr<Engine> engine = open();
  SelfTestInput input = self_test_input(engine->manifest());
  input.tokens[0] = engine->manifest().model.vocab_size;
  EXPECT_EQ(run_self_test(engine, input).status().code(), PL_INVALID_ARGUMENT);
}

TEST_F(SelfTest, OutcomesAreRememberedOutsideTheBundle) {
  const std::shared_ptr<Engine> engine = open();
  const TempDir folder;
  const RememberedSelfTest memory(folder.path() + "/state", *engine);
  EXPECT_FALSE(memory.outcome().has_value());
  ASSERT_TRUE(memory.begin().ok());
  ASSERT_TRUE(memory.outcome().has_value());
  EXPECT_EQ(memory.outcome()->code(), PL_BACKEND_SELF_TEST) << "a test that did not end";
  ASSERT_TRUE(memory.end(Status()).ok());
  EXPECT_TRUE(memory.outcome()->ok());
  ASSERT_TRUE(memory.end(error(PL_BACKEND_SELF_TEST, "loss: wrong")).ok());
  EXPECT_EQ(memory.outcome()->code(), PL_BACKEND_SELF_TEST);
  EXPECT_NE(memory.outcome()->message().find("loss: wrong"), std::string::npos);
  memory.forget();
  EXPECT_FALSE(memory.outcome().has_value());
}

TEST_F(SelfTest, WithoutAFolderNothingIsRemembered) {
  const RememberedSelfTest memory("", *open());
  ASSERT_TRUE(memory.begin().ok());
  EXPECT_FALSE(memory.outcome().has_value());
}

}  // namespace
}  // namespace pocketlora
