#include <gtest/gtest.h>

#include <cstring>
#include <pocketlora/pocketlora.hpp>
#include <string>

namespace pocketlora {
namespace {

/// Refused with a message that names the argument.
void expect_null_refused(pl_status status, const char* argument) {
  EXPECT_EQ(status, PL_INVALID_ARGUMENT);
  EXPECT_NE(std::string(pl_last_error()).find(std::string(argument) + " must not be null"), std::string::npos)
      << pl_last_error();
}

TEST(Arguments, NullHandlesAreRefusedByName) {
  float value = 0.0F;
  const int64_t token = 1;
  expect_null_refused(pl_engine_open("x", nullptr, nullptr), "out");
  expect_null_refused(pl_engine_get_info(nullptr, nullptr), "engine");
  expect_null_refused(pl_engine_get_memory(nullptr, nullptr), "engine");
  expect_null_refused(pl_adapter_load(nullptr, "x", nullptr), "engine");
  expect_null_refused(pl_adapter_save(nullptr, "x"), "adapter");
  expect_null_refused(pl_session_create(nullptr, nullptr, nullptr), "engine");
  expect_null_refused(pl_session_set_adapters(nullptr, nullptr, 0), "session");
  expect_null_refused(pl_session_reset(nullptr), "session");
  expect_null_refused(pl_session_prefill(nullptr, &token, 1, nullptr), "session");
  expect_null_refused(pl_session_decode(nullptr, 1, nullptr), "session");
  expect_null_refused(pl_session_generate(nullptr, nullptr, 0, nullptr, nullptr, nullptr, nullptr), "session");
  expect_null_refused(pl_trainer_create(nullptr, nullptr, nullptr, nullptr), "engine");
  expect_null_refused(pl_trainer_set_learning_rate(nullptr, 0.0F), "trainer");
  expect_null_refused(pl_trainer_step(nullptr, nullptr, 0, nullptr), "trainer");
  expect_null_refused(pl_trainer_forward_backward(nullptr, nullptr, 0, nullptr), "trainer");
  expect_null_refused(pl_trainer_get_gradient(nullptr, "x", &value, 1), "trainer");
  expect_null_refused(pl_trainer_get_adapter(nullptr, nullptr), "trainer");
  expect_null_refused(pl_engine_evaluate(nullptr, nullptr, 0, nullptr, nullptr, nullptr), "engine");
  EXPECT_EQ(pl_session_length(nullptr), 0);
}

TEST(Arguments, NullIsReleasedAndInitialisedWithoutHarm) {
  pl_engine_close(nullptr);
  pl_adapter_free(nullptr);
  pl_session_free(nullptr);
  pl_trainer_free(nullptr);
  pl_engine_options_init(nullptr);
  pl_session_options_init(nullptr);
  pl_generate_options_init(nullptr);
  pl_trainer_options_init(nullptr);
}

TEST(Arguments, AnUninitialisedStructIsRefused) {
  pl_engine_options options = {};
  pl_engine* engine = nullptr;
  EXPECT_EQ(pl_engine_open("x", &options, &engine), PL_INVALID_ARGUMENT);
  EXPECT_NE(std::string(pl_last_error()).find("options.struct_size"), std::string::npos) << pl_last_error();
}

TEST(Arguments, AStructOfAnOlderCallerKeepsTheOtherDefaults) {
  // A caller that knows only the first field: the backend is taken, what follows is not read.
  pl_engine_options options = engine_options();
  options.num_threads = -5;
  options.struct_size = offsetof(pl_engine_options, num_threads);
  pl_engine* engine = nullptr;
  EXPECT_EQ(pl_engine_open("/nonexistent", &options, &engine), PL_BUNDLE_MISSING_FILE);
  options.struct_size = sizeof(options);
  EXPECT_EQ(pl_engine_open("/nonexistent", &options, &engine), PL_INVALID_ARGUMENT);
}

TEST(Arguments, DefaultsAreTheDocumentedOnes) {
  const pl_trainer_options trainer = trainer_options();
  EXPECT_EQ(trainer.learning_rate, 1e-4F);
  EXPECT_EQ(trainer.beta1, 0.9F);
  EXPECT_EQ(trainer.beta2, 0.999F);
  EXPECT_EQ(trainer.epsilon, 1e-8F);
  EXPECT_EQ(trainer.weight_decay, 0.0F);
  EXPECT_EQ(trainer.optimizer, PL_ADAMW);
  const pl_generate_options generate = generate_options();
  EXPECT_EQ(generate.max_new_tokens, 128);
  EXPECT_EQ(generate.temperature, 0.0F);
  EXPECT_EQ(generate.top_p, 1.0F);
}

TEST(Arguments, ASuccessKeepsTheLastMessage) {
  EXPECT_EQ(pl_engine_open(nullptr, nullptr, nullptr), PL_INVALID_ARGUMENT);
  const std::string message = pl_last_error();
  EXPECT_FALSE(message.empty());
  EXPECT_STREQ(pl_status_name(PL_OK), "OK");
  EXPECT_EQ(message, pl_last_error());
}

}  // namespace
}  // namespace pocketlora
