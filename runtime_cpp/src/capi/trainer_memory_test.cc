#include <atomic>
#include <cfloat>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>

#include "capi/bundle_test_support.h"
#include "common/test_support.h"

namespace pocketlora {
namespace {

/// Trainers under a memory limit, with other activations, cancelled: what they choose, what they take, what they give.
class TrainerMemoryTest : public BundleTest {
 protected:
  EngineHandle limited_engine(int64_t limit, pl_weights weights = PL_WEIGHTS_AUTO) const {
    pl_engine_options options = engine_options();
    options.num_threads = 1;
    options.memory_limit = limit;
    options.weights = weights;
    Error problem;
    EngineHandle engine = open_engine(dir_, &options, &problem);
    EXPECT_TRUE(engine) << problem.message;
    return engine;
  }

  static TrainerHandle new_trainer(pl_engine* engine, const pl_trainer_options& options,
                                   const pl_adapter* init = nullptr) {
    Error problem;
    TrainerHandle trainer = create_trainer(engine, &options, init, &problem);
    EXPECT_TRUE(trainer) << problem.message;
    return trainer;
  }

  static pl_trainer_info info_of(const pl_trainer* trainer) {
    pl_trainer_info info = {};
    info.struct_size = sizeof(info);
    EXPECT_PL_OK(pl_trainer_get_info(trainer, &info));
    return info;
  }

  static int64_t peak_of(const pl_engine* engine) {
    pl_memory memory = {};
    memory.struct_size = sizeof(memory);
    EXPECT_PL_OK(pl_engine_get_memory(engine, &memory));
    return memory.peak;
  }

  static pl_step_report step(pl_trainer* trainer, const std::vector<pl_batch>& batches) {
    pl_step_report report = {};
    report.struct_size = sizeof(report);
    EXPECT_PL_OK(pl_trainer_step(trainer, batches.data(), batches.size(), &report));
    return report;
  }

  /// Every gradient of the first layer's q_proj.A after one batch.
  std::vector<float> gradient(pl_trainer* trainer, const pl_batch& batch) const {
    EXPECT_PL_OK(pl_trainer_forward_backward(trainer, &batch, 1, nullptr));
    std::vector<float> values(static_cast<size_t>(4 * info_.hidden_size));
    const char* name = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight";
    EXPECT_PL_OK(pl_trainer_get_gradient(trainer, name, values.data(), values.size()));
    return values;
  }

  static double relative_error(const std::vector<float>& found, const std::vector<float>& expected) {
    double difference = 0.0;
    double size = 0.0;
    for (size_t i = 0; i < found.size(); ++i) {
      difference += std::pow(static_cast<double>(found[i]) - expected[i], 2);
      size += std::pow(static_cast<double>(expected[i]), 2);
    }
    EXPECT_GT(size, 0.0);
    return std::sqrt(difference / size);
  }

  /// Rows of 16 tokens.
  TestBatch rows_of_16(int count) const {
    std::vector<std::vector<int64_t>> rows;
    for (int i = 0; i < count; ++i) rows.push_back(some_tokens(16, 100 + static_cast<uint64_t>(i)));
    return TestBatch(rows);
  }
};

TEST_F(TrainerMemoryTest, ALimitIsHonouredWhateverItMakesOfTheSetting) {
  const TempDir scratch;
  int64_t without = 0;
  {
    const EngineHandle engine = limited_engine(0);
    without = info_of(new_trainer(engine.get(), small_trainer(1e-3F)).get()).planned;
  }
  const TestBatch batch = rows_of_16(static_cast<int>(2 * info_.train_t_max / 16));
  int64_t fewest_rows = info_.train_t_max;
  bool spilled = false;
  for (const double share : {1.2, 0.95, 0.8, 0.65, 0.5}) {
    const auto limit = static_cast<int64_t>(share * static_cast<double>(without));
    const EngineHandle engine = limited_engine(limit);
    pl_trainer_options options = small_trainer(1e-3F);
    options.scratch_dir = scratch.path().c_str();
    const TrainerHandle trainer = create_trainer(engine.get(), &options, nullptr, nullptr);
    if (!trainer) continue;  // the process' kernels hold more scratch than this leaves
    const pl_trainer_info info = info_of(trainer.get());
    EXPECT_LE(info.planned, limit);
    EXPECT_EQ(info.memory_limit, limit);
    if (info.max_rows < 16) continue;
    const pl_step_report report = step(trainer.get(), {batch.view()});
    EXPECT_GE(report.passes, 2 * info_.train_t_max / info.max_rows);
    pl_eval_report eval = {};
    eval.struct_size = sizeof(eval);
    const AdapterHandle adapter = trained_adapter(trainer.get(), nullptr);
    const pl_adapter_ref ref = {adapter.get(), 1.0F};
    const pl_batch view = batch.view();
    EXPECT_PL_OK(pl_engine_evaluate(engine.get(), &ref, 1, &view, nullptr, &eval));
    EXPECT_LE(peak_of(engine.get()), limit) << info.max_rows << " rows, activations " << info.activations;
    fewest_rows = std::min(fewest_rows, info.max_rows);
    spilled = spilled || info.spilled > 0;
  }
  EXPECT_TRUE(spilled || fewest_rows < info_.train_t_max);
}

TEST_F(TrainerMemoryTest, WhatDoesNotFitIsRefusedWithTheNumbers) {
  const EngineHandle engine = limited_engine(100000);
  const pl_trainer_options options = small_trainer(1e-3F);
  pl_trainer* out = nullptr;
  EXPECT_EQ(pl_trainer_create(engine.get(), &options, nullptr, &out), PL_OUT_OF_MEMORY);
  EXPECT_EQ(out, nullptr);
  for (const char* text : {"memory limit of 0.1 MB", "arena", "optimizer", "A limit of"}) {
    EXPECT_NE(std::string(pl_last_error()).find(text), std::string::npos) << pl_last_error();
  }
}

TEST_F(TrainerMemoryTest, AStepInSeveralPassesEqualsTheOneInOne) {
  const AdapterHandle start = train_adapter(30);
  const TestBatch batch = rows_of_16(4);
  pl_trainer_options options = small_trainer(1e-3F);
  const TrainerHandle whole = new_trainer(engine_.get(), options, start.get());
  options.max_rows = 40;
  const TrainerHandle split = new_trainer(engine_.get(), options, start.get());
  const std::vector<float> expected = gradient(whole.get(), batch.view());
  const std::vector<float> found = gradient(split.get(), batch.view());
  // The same sums in another order: at most 64 rows × 4 layers of roundings.
  EXPECT_LE(relative_error(found, expected), FLT_EPSILON * 64 * 4);
  const pl_step_report one = step(whole.get(), {batch.view()});
  const pl_step_report two = step(split.get(), {batch.view()});
  EXPECT_EQ(one.passes, 1);
  EXPECT_EQ(two.passes, 2);
  EXPECT_EQ(one.num_labels, two.num_labels);
  EXPECT_NEAR(one.loss, two.loss, FLT_EPSILON * 64 * one.loss);
}

TEST_F(TrainerMemoryTest, AMicroBatchMayBeLargerThanTheBundlesPass) {
  const TrainerHandle trainer = new_trainer(engine_.get(), small_trainer(1e-3F));
  const TestBatch batch = rows_of_16(static_cast<int>(info_.train_t_max / 16 + 1));
  EXPECT_EQ(step(trainer.get(), {batch.view()}).passes, 2);
}

TEST_F(TrainerMemoryTest, ASegmentThatNoPassHoldsIsNamed) {
  pl_trainer_options options = small_trainer(1e-3F);
  options.max_rows = 20;
  const TrainerHandle trainer = new_trainer(engine_.get(), options);
  const TestBatch batch({some_tokens(16, 1), some_tokens(24, 2)});
  const pl_batch view = batch.view();
  EXPECT_EQ(pl_trainer_step(trainer.get(), &view, 1, nullptr), PL_SEQUENCE_TOO_LONG);
  EXPECT_NE(std::string(pl_last_error()).find("micro-batch 0, segment 1 has 24 tokens"), std::string::npos)
      << pl_last_error();
}

TEST_F(TrainerMemoryTest, GradientsFromRoundedActivationsStayWithinTheirBounds) {
  const AdapterHandle start = train_adapter(31);
  const TestBatch batch = rows_of_16(4);
  pl_trainer_options options = small_trainer(1e-3F);
  options.activations = PL_ACTIVATIONS_FP32;
  const std::vector<float> expected = gradient(new_trainer(engine_.get(), options, start.get()).get(), batch.view());
  // Every recomputed block begins from inputs rounded by half a unit: 2^-11, 2^-8. The bounds are what docs/memory.md
  // promises; fp16's is as much smaller as its unit is.
  const std::pair<pl_activations, double> cases[] = {{PL_ACTIVATIONS_FP16, 2e-2 / 8}, {PL_ACTIVATIONS_BF16, 2e-2}};
  for (const auto& [activations, bound] : cases) {
    options.activations = activations;
    const std::vector<float> found = gradient(new_trainer(engine_.get(), options, start.get()).get(), batch.view());
    const double error = relative_error(found, expected);
    RecordProperty(activations == PL_ACTIVATIONS_FP16 ? "fp16" : "bf16", std::to_string(error));
    EXPECT_LE(error, bound);
    EXPECT_GT(error, 0.0);
  }
}

TEST_F(TrainerMemoryTest, SpillingAndStreamingChangeNoBit) {
  const TempDir scratch;
  const AdapterHandle start = train_adapter(32);
  const TestBatch batch = rows_of_16(4);
  pl_trainer_options options = small_trainer(1e-3F);
  const std::vector<float> expected = gradient(new_trainer(engine_.get(), options, start.get()).get(), batch.view());
  options.scratch_dir = scratch.path().c_str();
  options.activation_limit = 1;
  const TrainerHandle spilling = new_trainer(engine_.get(), options, start.get());
  EXPECT_GT(info_of(spilling.get()).spilled, 0);
  EXPECT_EQ(gradient(spilling.get(), batch.view()), expected);
  EXPECT_EQ(scratch.num_entries(), 0U);
  const EngineHandle streaming = limited_engine(0, PL_WEIGHTS_STREAM);
  const TrainerHandle streamed = new_trainer(streaming.get(), options, start.get());
  EXPECT_NE(info_of(streamed.get()).streams_weights, 0);
  EXPECT_EQ(gradient(streamed.get(), batch.view()), expected);
  pl_memory memory = {};
  memory.struct_size = sizeof(memory);
  EXPECT_PL_OK(pl_engine_get_memory(streaming.get(), &memory));
  EXPECT_LT(memory.base_resident, static_cast<int64_t>(std::filesystem::file_size(dir_ + "/base.ptd")) / 2);
  EXPECT_EQ(memory.base_private_dirty, 0);
}

TEST_F(TrainerMemoryTest, KeptProductsChangeNoBit) {
  const AdapterHandle start = train_adapter(33);
  const TestBatch batch = rows_of_16(static_cast<int>(info_.train_t_max / 16));
  pl_trainer_options options = small_trainer(1e-2F);
  options.dropout = 0.1F;
  options.activations = PL_ACTIVATIONS_FP32;
  options.max_rows = info_.train_t_max / 2;  // two passes a step
  options.recompute = PL_RECOMPUTE_FULL;
  const TrainerHandle full = new_trainer(engine_.get(), options, start.get());
  options.recompute = PL_RECOMPUTE_SELECTIVE;
  const TrainerHandle selective = new_trainer(engine_.get(), options, start.get());
  const pl_trainer_info least = info_of(full.get()), most = info_of(selective.get());
  EXPECT_EQ(least.kept_blocks, 0);
  EXPECT_EQ(most.kept_blocks, info_.num_layers);
  EXPECT_GT(most.block_inputs, least.block_inputs);
  const auto planned = [&](pl_recompute recompute) {  // under a limit, which has all methods loaded
    const EngineHandle roomy = limited_engine(int64_t{1} << 40);
    options.recompute = recompute;
    return info_of(new_trainer(roomy.get(), options, start.get()).get()).planned;
  };
  const int64_t limit = (planned(PL_RECOMPUTE_FULL) + planned(PL_RECOMPUTE_SELECTIVE)) / 2;
  const EngineHandle limited = limited_engine(limit);
  options.recompute = PL_RECOMPUTE_AUTO;
  const TrainerHandle some = new_trainer(limited.get(), options, start.get());
  EXPECT_GT(info_of(some.get()).kept_blocks, 0);
  EXPECT_LT(info_of(some.get()).kept_blocks, info_.num_layers);
  for (int i = 0; i < 3; ++i) {
    const double loss = step(full.get(), {batch.view()}).loss;
    EXPECT_EQ(step(selective.get(), {batch.view()}).loss, loss);
    EXPECT_EQ(step(some.get(), {batch.view()}).loss, loss);
  }
  const TestBatch last = rows_of_16(1);
  const std::vector<float> expected = gradient(full.get(), last.view());
  EXPECT_TRUE(gradient(selective.get(), last.view()) == expected);
  EXPECT_TRUE(gradient(some.get(), last.view()) == expected);
  EXPECT_LE(peak_of(limited.get()), limit);
  const TempDir folder;
  const auto saved = [&](pl_trainer* trainer, const char* name) {
    const std::string dir = folder.path() + "/" + name;
    const AdapterHandle adapter = trained_adapter(trainer, nullptr);
    EXPECT_PL_OK(pl_adapter_save(adapter.get(), dir.c_str()));
    std::ifstream file(dir + "/adapter_model.safetensors", std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(file), {});
  };
  const std::string weights = saved(full.get(), "full");
  EXPECT_FALSE(weights.empty());
  EXPECT_TRUE(saved(selective.get(), "selective") == weights);
  EXPECT_TRUE(saved(some.get(), "some") == weights);
}

TEST_F(TrainerMemoryTest, ACancelledStepLeavesTheAdapter) {
  const TestBatch batch = rows_of_16(4);
  const pl_batch view = batch.view();
  const TrainerHandle trainer = new_trainer(engine_.get(), small_trainer(1e-2F));
  const TrainerHandle other = new_trainer(engine_.get(), small_trainer(1e-2F));
  EXPECT_PL_OK(pl_trainer_cancel(trainer.get()));  // before: the next step ends at its first block
  EXPECT_EQ(pl_trainer_step(trainer.get(), &view, 1, nullptr), PL_CANCELLED);
  EXPECT_NE(std::string(pl_last_error()).find("step 1 was cancelled"), std::string::npos) << pl_last_error();
  // Meanwhile: until one of the steps says so.
  std::atomic<bool> done{false};
  std::thread canceller([&] {
    while (!done.load()) pl_trainer_cancel(trainer.get());
  });
  EXPECT_EQ(pl_trainer_step(trainer.get(), &view, 1, nullptr), PL_CANCELLED);
  done.store(true);
  canceller.join();
  const pl_status last = pl_trainer_step(trainer.get(), &view, 1, nullptr);  // a request may have come after the step
  ASSERT_TRUE(last == PL_OK || last == PL_CANCELLED);
  if (last == PL_CANCELLED) {
    EXPECT_PL_OK(pl_trainer_step(trainer.get(), &view, 1, nullptr));
  }
  EXPECT_EQ(step(trainer.get(), {view}).step, 2);  // one step was done, as if nothing had been cancelled
  step(other.get(), {view});
  const double loss = step(other.get(), {view}).loss;
  EXPECT_EQ(step(trainer.get(), {view}).loss, step(other.get(), {view}).loss);
  EXPECT_GT(loss, 0.0);
}

TEST_F(TrainerMemoryTest, ASnapshotIsNoCopyUntilTheNextStep) {
  const EngineHandle engine = limited_engine(0);
  const TestBatch batch = rows_of_16(1);
  const TrainerHandle trainer = new_trainer(engine.get(), small_trainer(1e-2F));
  const auto adapter_bytes = [&] {
    pl_memory memory = {};
    memory.struct_size = sizeof(memory);
    EXPECT_PL_OK(pl_engine_get_memory(engine.get(), &memory));
    return memory.adapter;
  };
  const int64_t one = adapter_bytes();
  AdapterHandle snapshot = trained_adapter(trainer.get(), nullptr);
  EXPECT_EQ(adapter_bytes(), one);
  step(trainer.get(), {batch.view()});
  EXPECT_EQ(adapter_bytes(), 2 * one);
  snapshot.reset();
  EXPECT_EQ(adapter_bytes(), one);
}

TEST_F(TrainerMemoryTest, BadOptionsAreNamedAllAtOnce) {
  pl_engine_options bad = engine_options();
  bad.memory_limit = -1;
  bad.weights = static_cast<pl_weights>(7);
  pl_engine* out = nullptr;
  EXPECT_EQ(pl_engine_open(dir_.c_str(), &bad, &out), PL_INVALID_ARGUMENT);
  const std::string message = pl_last_error();
  EXPECT_NE(message.find("memory_limit"), std::string::npos);
  EXPECT_NE(message.find("weights"), std::string::npos);
  pl_trainer_options options = small_trainer(1e-3F);
  options.scratch_dir = "/nowhere/at/all";
  options.activation_limit = 1;
  pl_trainer* trainer = nullptr;
  EXPECT_EQ(pl_trainer_create(engine_.get(), &options, nullptr, &trainer), PL_INVALID_ARGUMENT);
  EXPECT_NE(std::string(pl_last_error()).find("/nowhere/at/all"), std::string::npos);
}

}  // namespace
}  // namespace pocketlora
