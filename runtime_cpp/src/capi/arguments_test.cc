#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <pocketlora/pocketlora.hpp>
#include <string>
#include <vector>

#include "capi/capi.h"
#include "capi/compute.h"
#include "common/test_support.h"

namespace pocketlora {
namespace {

/// Bytes that end where memory ends: reading or writing beyond them is a fault, with or without a sanitizer.
class MemoryEnd {
 public:
  explicit MemoryEnd(size_t size) : page_(static_cast<size_t>(::sysconf(_SC_PAGESIZE))) {
    pages_ = static_cast<char*>(::mmap(nullptr, 2 * page_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    EXPECT_NE(static_cast<void*>(pages_), MAP_FAILED);
    EXPECT_EQ(::mprotect(pages_ + page_, page_, PROT_NONE), 0);
    data_ = pages_ + page_ - size;
  }
  ~MemoryEnd() { ::munmap(pages_, 2 * page_); }
  MemoryEnd(const MemoryEnd&) = delete;
  MemoryEnd& operator=(const MemoryEnd&) = delete;

  template <typename T>
  T* as() const {
    return reinterpret_cast<T*>(data_);
  }

 private:
  size_t page_;
  char* pages_ = nullptr;
  char* data_ = nullptr;
};

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
  expect_null_refused(pl_trainer_log_event(nullptr, "{}"), "trainer");
  expect_null_refused(pl_trainer_save_artifact(nullptr, "x", nullptr), "trainer");
  expect_null_refused(pl_engine_verify_base(nullptr), "engine");
  expect_null_refused(pl_file_sha256("x", nullptr), "hex");
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
  pl_artifact_options_init(nullptr);
}

/// Only the first `size` bytes are the caller's; the struct ends where its memory ends.
template <typename T>
const T& initialised_within(const MemoryEnd& memory, void (*init)(T*, size_t), size_t size) {
  T* options = memory.as<T>();
  std::memset(static_cast<void*>(options), 0x5a, size);
  init(options, size);
  EXPECT_EQ(options->struct_size, size);
  return *options;
}

TEST(Arguments, DefaultsAreWrittenWithinTheCallersStruct) {
  const size_t engine_size = offsetof(pl_engine_options, num_threads);
  const MemoryEnd engine(engine_size);
  EXPECT_EQ(initialised_within(engine, pl_engine_options_init_sized, engine_size).backend, nullptr);
  const size_t generate_size = offsetof(pl_generate_options, temperature);
  const MemoryEnd generate(generate_size);
  EXPECT_EQ(initialised_within(generate, pl_generate_options_init_sized, generate_size).max_new_tokens, 128);
  const size_t trainer_size = offsetof(pl_trainer_options, target_modules);
  const MemoryEnd trainer(trainer_size);
  EXPECT_EQ(initialised_within(trainer, pl_trainer_options_init_sized, trainer_size).rank, 16);
  const MemoryEnd session(sizeof(size_t));
  initialised_within(session, pl_session_options_init_sized, sizeof(size_t));
}

TEST(Arguments, FieldsOfALaterCallerAreZero) {
  struct LaterOptions {
    pl_session_options options;
    int64_t later_field;
  };
  LaterOptions later = {{0, 5, PL_CACHE_INT8, PL_COMPUTE_FLOAT32}, -1};
  pl_session_options_init_sized(&later.options, sizeof(later));
  EXPECT_EQ(later.options.struct_size, sizeof(later));
  EXPECT_EQ(later.options.context_length, 0);
  EXPECT_EQ(later.options.cache_dtype, PL_CACHE_FLOAT32);
  EXPECT_EQ(later.later_field, 0);
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

TEST(Arguments, AShorterOutputStructIsOnlyTouchedWithinItsSize) {
  const size_t size = offsetof(pl_step_report, num_tokens);
  const MemoryEnd memory(size);
  auto* report = memory.as<pl_step_report>();
  report->struct_size = size;
  pl_step_report facts = {};
  facts.step = 7;
  facts.loss = 0.5;
  EXPECT_TRUE(check_output_struct(report, "report").ok());
  EXPECT_TRUE(write_struct(facts, "report", report).ok());
  EXPECT_EQ(report->struct_size, size);
  EXPECT_EQ(report->step, 7);
  EXPECT_EQ(report->loss, 0.5);
  report->struct_size = sizeof(size_t);
  EXPECT_TRUE(fails_with(check_output_struct(report, "report"), PL_INVALID_ARGUMENT, {"report.struct_size"}));
  EXPECT_TRUE(fails_with(write_struct(facts, "report", report), PL_INVALID_ARGUMENT, {"report.struct_size"}));
}

/// pl_batch of a caller with a later header.
struct LaterBatch {
  pl_batch batch;
  int64_t later_field;
};

TEST(Arguments, BatchesLieAsFarApartAsTheirCallersStructIsLong) {
  const std::vector<int64_t> tokens = {3, 1, 4, 1, 5};
  const std::vector<int64_t> segments = {0, 2, 5};
  const auto make = [&](size_t num_tokens, size_t num_segments) {
    return LaterBatch{{sizeof(LaterBatch), tokens.data(), tokens.data(), segments.data(), num_tokens, num_segments},
                      -1};
  };
  std::vector<LaterBatch> batches = {make(2, 1), make(5, 2)};
  const Result<std::vector<BatchView>> views = batch_views(&batches[0].batch, 2, "micro_batches");
  ASSERT_TRUE(views.ok()) << views.status().message();
  ASSERT_EQ(views.value().size(), 2U);
  EXPECT_EQ(views.value()[0].tokens.size(), 2U);
  EXPECT_EQ(views.value()[1].tokens.size(), 5U);
  EXPECT_EQ(views.value()[1].segments.size(), 3U);
  batches[1].batch.struct_size = sizeof(pl_batch);
  EXPECT_TRUE(fails_with(batch_views(&batches[0].batch, 2, "micro_batches").status(), PL_INVALID_ARGUMENT,
                         {"micro_batches[1].struct_size"}));
  EXPECT_TRUE(batch_views(nullptr, 0, "micro_batches").ok());
}

TEST(Arguments, ABatchWithoutItsSizeIsRefused) {
  const int64_t one = 1;
  for (const size_t size : {size_t{0}, sizeof(size_t), sizeof(pl_batch) - 1, sizeof(pl_batch) + 1}) {
    const pl_batch batch = {size, &one, &one, &one, 1, 1};
    EXPECT_TRUE(fails_with(batch_views(&batch, 1, "batches").status(), PL_INVALID_ARGUMENT, {"batches[0].struct_size"}))
        << size;
  }
}

TEST(Arguments, DefaultsAreTheDocumentedOnes) {
  const pl_trainer_options trainer = trainer_options();
  EXPECT_EQ(trainer.learning_rate, 1e-4F);
  EXPECT_EQ(trainer.beta1, 0.9F);
  EXPECT_EQ(trainer.beta2, 0.999F);
  EXPECT_EQ(trainer.epsilon, 1e-8F);
  EXPECT_EQ(trainer.weight_decay, 0.0F);
  EXPECT_EQ(trainer.optimizer, PL_ADAMW);
  EXPECT_EQ(trainer.compute, PL_COMPUTE_FLOAT32);
  const pl_generate_options generate = generate_options();
  EXPECT_EQ(generate.max_new_tokens, 128);
  EXPECT_EQ(generate.temperature, 0.0F);
  EXPECT_EQ(generate.top_p, 1.0F);
}

TEST(Arguments, ComputeIsAPlCompute) {
  EXPECT_EQ(read_compute(PL_COMPUTE_INT16).value(), Compute::kInt16);
  EXPECT_EQ(read_compute(PL_COMPUTE_INT8).value(), Compute::kInt8);
  EXPECT_EQ(read_compute(PL_COMPUTE_BF16).value(), Compute::kBf16);
  EXPECT_EQ(read_compute(PL_COMPUTE_AUTO).value(), fastest_compute());
  EXPECT_TRUE(fails_with(read_compute(static_cast<pl_compute>(5)).status(), PL_INVALID_ARGUMENT, {"compute", "5"}));
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
