#include <cfloat>
#include <cmath>
#include <fstream>
#include <limits>

#include "capi/bundle_test_support.h"

namespace pocketlora {
namespace {

class TrainerTest : public BundleTest {
 protected:
  TrainerHandle new_trainer(const pl_trainer_options& options, const pl_adapter* init = nullptr) const {
    Error problem;
    TrainerHandle trainer = create_trainer(engine_.get(), &options, init, &problem);
    EXPECT_TRUE(trainer) << problem.message;
    return trainer;
  }

  pl_step_report step(pl_trainer* trainer, const std::vector<pl_batch>& batches) const {
    pl_step_report report = {};
    report.struct_size = sizeof(report);
    EXPECT_PL_OK(pl_trainer_step(trainer, batches.data(), batches.size(), &report));
    return report;
  }

  pl_step_report gradients(pl_trainer* trainer, const std::vector<pl_batch>& batches) const {
    pl_step_report report = {};
    report.struct_size = sizeof(report);
    EXPECT_PL_OK(pl_trainer_forward_backward(trainer, batches.data(), batches.size(), &report));
    return report;
  }

  pl_eval_report evaluate(const pl_adapter* adapter, const pl_batch& batch, float* logprobs = nullptr) const {
    const pl_adapter_ref ref = {adapter, 1.0F};
    pl_eval_report report = {};
    report.struct_size = sizeof(report);
    EXPECT_PL_OK(pl_engine_evaluate(engine_.get(), &ref, adapter == nullptr ? 0 : 1, &batch, logprobs, &report));
    return report;
  }

  /// The first site's matrix in the whole adapter, as many elements as the rank gives.
  std::vector<float> gradient(const pl_trainer* trainer, const std::string& name) const {
    std::vector<float> values(static_cast<size_t>(4 * info_.hidden_size));
    EXPECT_PL_OK(pl_trainer_get_gradient(trainer, name.c_str(), values.data(), values.size()));
    return values;
  }

  const std::string first_a_ = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight";
};

TEST_F(TrainerTest, TheLossFalls) {
  const TestBatch batch({some_tokens(24, 1), some_tokens(8, 2)});
  const TrainerHandle trainer = new_trainer(small_trainer(1e-2F));
  const pl_step_report first = step(trainer.get(), {batch.view()});
  EXPECT_EQ(first.step, 1);
  EXPECT_EQ(first.num_tokens, 32);
  EXPECT_EQ(first.num_labels, 30);
  pl_step_report last = first;
  for (int i = 0; i < 15; ++i) last = step(trainer.get(), {batch.view()});
  EXPECT_EQ(last.step, 16);
  EXPECT_LT(last.loss, first.loss / 2);
}

TEST_F(TrainerTest, TheGradientIsTheSlopeOfTheLoss) {
  // One SGD step of size h along -g changes the loss by -h|g|² + O(h²); two sizes cancel the second order.
  const TestBatch batch({some_tokens(16, 3), some_tokens(9, 4)});
  const AdapterHandle start = train_adapter(5);  // B is not zero any more
  const auto loss_after = [&](float h, double* norm) {
    pl_trainer_options options = small_trainer(h);
    options.optimizer = PL_SGD;
    const TrainerHandle trainer = new_trainer(options, start.get());
    *norm = step(trainer.get(), {batch.view()}).grad_norm;
    const AdapterHandle moved = trained_adapter(trainer.get(), nullptr);
    const pl_eval_report report = evaluate(moved.get(), batch.view());
    return report.sum_nll / static_cast<double>(report.num_labels);
  };
  double norm = 0.0;
  const double loss = loss_after(0.0F, &norm);
  ASSERT_GT(norm, 0.1);
  // Chosen so that the loss moves by about 1 %: far above fp32 rounding (1e-6 of it), with the third order below 1 %.
  const double h = 0.01 * loss / (norm * norm);
  const double far = (loss - loss_after(static_cast<float>(h), &norm)) / h;
  const double near = (loss - loss_after(static_cast<float>(h / 2), &norm)) / (h / 2);
  EXPECT_NEAR((2 * near - far) / (norm * norm), 1.0, 0.02);
}

TEST_F(TrainerTest, AccumulationEqualsOnePackedBatch) {
  const std::vector<int64_t> first = some_tokens(10, 6);
  const std::vector<int64_t> second = some_tokens(6, 7);
  const TestBatch packed({first, second});
  const TestBatch a({first});
  const TestBatch b({second});
  const AdapterHandle start = train_adapter(8);
  const TrainerHandle one = new_trainer(small_trainer(1e-3F), start.get());
  const TrainerHandle two = new_trainer(small_trainer(1e-3F), start.get());
  const pl_step_report whole = gradients(one.get(), {packed.view()});
  const pl_step_report parts = gradients(two.get(), {a.view(), b.view()});
  // The same sums in another order: at most 16 rows × 4 layers of roundings.
  const double relative = FLT_EPSILON * 16 * 4;
  EXPECT_NEAR(parts.loss, whole.loss, relative * whole.loss);
  EXPECT_EQ(parts.num_labels, whole.num_labels);
  EXPECT_NEAR(parts.grad_norm, whole.grad_norm, relative * whole.grad_norm);
  const std::vector<float> x = gradient(one.get(), first_a_);
  const std::vector<float> y = gradient(two.get(), first_a_);
  double difference = 0.0;
  double size = 0.0;
  for (size_t i = 0; i < x.size(); ++i) {
    difference += std::pow(static_cast<double>(x[i]) - y[i], 2);
    size += std::pow(static_cast<double>(x[i]), 2);
  }
  EXPECT_GT(size, 0.0);
  EXPECT_LE(std::sqrt(difference), relative * whole.grad_norm);
}

TEST_F(TrainerTest, MaskedTokensDoNotCount) {
  TestBatch batch({some_tokens(12, 9)});
  for (size_t i = 0; i < 6; ++i) batch.labels[i] = -100;
  const TrainerHandle trainer = new_trainer(small_trainer(1e-3F));
  const pl_step_report report = gradients(trainer.get(), {batch.view()});
  EXPECT_EQ(report.num_labels, 6);
  std::vector<float> logprobs(12);
  const pl_eval_report eval = evaluate(nullptr, batch.view(), logprobs.data());
  EXPECT_EQ(eval.num_labels, 6);
  double sum = 0.0;
  for (size_t i = 6; i < 12; ++i) sum -= static_cast<double>(logprobs[i]);
  EXPECT_NEAR(eval.sum_nll, sum, 1e-12 * sum);
  EXPECT_NEAR(report.loss, sum / 6, FLT_EPSILON * 6 * sum);  // a new adapter changes nothing
  EXPECT_TRUE(std::isnan(logprobs[0]));
  EXPECT_TRUE(std::isfinite(logprobs[1]));
}

TEST_F(TrainerTest, SegmentsDoNotSeeEachOther) {
  const std::vector<int64_t> first = some_tokens(9, 10);
  const std::vector<int64_t> second = some_tokens(7, 11);
  const TestBatch packed({first, second});
  const TestBatch alone({second});
  std::vector<float> together(16);
  std::vector<float> by_itself(7);
  evaluate(nullptr, packed.view(), together.data());
  evaluate(nullptr, alone.view(), by_itself.data());
  // Logits are sums of `hidden` products; a log-probability's error is theirs.
  const float bound = FLT_EPSILON * static_cast<float>(4 * info_.hidden_size * info_.num_layers);
  for (size_t i = 1; i < 7; ++i) EXPECT_NEAR(together[9 + i], by_itself[i], bound * std::abs(by_itself[i]));
  EXPECT_TRUE(std::isnan(together[9]));
}

TEST_F(TrainerTest, ASavedAdapterIsTheSameAdapter) {
  const AdapterHandle adapter = train_adapter(12);
  const std::string dir = ::testing::TempDir() + "/pocketlora_saved_adapter";
  EXPECT_PL_OK(pl_adapter_save(adapter.get(), dir.c_str()));
  Error problem;
  const AdapterHandle loaded = load_adapter(engine_.get(), dir, &problem);
  ASSERT_TRUE(loaded) << problem.message;
  const TestBatch batch({some_tokens(12, 13)});
  EXPECT_EQ(evaluate(loaded.get(), batch.view()).sum_nll, evaluate(adapter.get(), batch.view()).sum_nll);
  EXPECT_NE(evaluate(loaded.get(), batch.view()).sum_nll, evaluate(nullptr, batch.view()).sum_nll);
}

TEST_F(TrainerTest, AnAdapterOfAnotherEngineOfTheBundleIsAStart) {
  Error problem;
  const EngineHandle other = open_engine(dir_, nullptr, &problem);
  ASSERT_TRUE(other) << problem.message;
  const AdapterHandle start = train_adapter(17);
  const pl_trainer_options options = small_trainer(1e-3F);
  const TrainerHandle trainer = create_trainer(other.get(), &options, start.get(), &problem);
  EXPECT_TRUE(trainer) << problem.message;
}

TEST_F(TrainerTest, TheSavedConfigSaysTheDropout) {
  pl_trainer_options options = small_trainer(1e-3F);
  options.dropout = 0.1F;
  const TrainerHandle trainer = new_trainer(options);
  const std::string dir = ::testing::TempDir() + "/pocketlora_saved_dropout";
  EXPECT_PL_OK(pl_adapter_save(trained_adapter(trainer.get(), nullptr).get(), dir.c_str()));
  std::ifstream file(dir + "/adapter_config.json");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  EXPECT_NE(text.find("\"lora_dropout\": 0.1,"), std::string::npos) << text;
}

TEST_F(TrainerTest, AFailedEvaluationLeavesTheCallersBuffer) {
  const AdapterHandle adapter = train_adapter(18);
  const TestBatch batch({some_tokens(12, 19)});
  const pl_adapter_ref ref = {adapter.get(), 1e38F};  // the hidden state overflows
  const pl_batch view = batch.view();
  std::vector<float> logprobs(12, -7.0F);
  EXPECT_EQ(pl_engine_evaluate(engine_.get(), &ref, 1, &view, logprobs.data(), nullptr), PL_BACKEND_EXECUTION);
  EXPECT_EQ(logprobs, std::vector<float>(12, -7.0F));
}

TEST_F(TrainerTest, ASnapshotDoesNotFollowTheTrainer) {
  const TestBatch batch({some_tokens(12, 14)});
  const TrainerHandle trainer = new_trainer(small_trainer(1e-2F));
  step(trainer.get(), {batch.view()});
  const AdapterHandle snapshot = trained_adapter(trainer.get(), nullptr);
  const double before = evaluate(snapshot.get(), batch.view()).sum_nll;
  step(trainer.get(), {batch.view()});
  EXPECT_EQ(evaluate(snapshot.get(), batch.view()).sum_nll, before);
}

TEST_F(TrainerTest, DropoutFollowsItsSeed) {
  const TestBatch batch({some_tokens(16, 15)});
  const AdapterHandle start = train_adapter(16);
  const auto loss = [&](float dropout, uint64_t seed) {
    pl_trainer_options options = small_trainer(1e-3F);
    options.dropout = dropout;
    options.seed = seed;
    const TrainerHandle trainer = new_trainer(options, start.get());
    return gradients(trainer.get(), {batch.view()}).loss;
  };
  EXPECT_EQ(loss(0.5F, 1), loss(0.5F, 1));
  EXPECT_NE(loss(0.5F, 1), loss(0.5F, 2));
  EXPECT_NE(loss(0.5F, 1), loss(0.0F, 1));
  EXPECT_EQ(loss(0.0F, 1), loss(0.0F, 2));
}

TEST_F(TrainerTest, ALossThatIsNotFiniteLeavesTheAdapterAlone) {
  pl_trainer_options options = small_trainer(1e30F);
  options.optimizer = PL_SGD;
  const AdapterHandle start = train_adapter(17);
  const TrainerHandle trainer = new_trainer(options, start.get());
  const TestBatch batch({some_tokens(12, 18)});
  step(trainer.get(), {batch.view()});  // the parameters are now far beyond what fp32 can multiply
  const pl_batch view = batch.view();
  EXPECT_EQ(pl_trainer_step(trainer.get(), &view, 1, nullptr), PL_BACKEND_EXECUTION);
  EXPECT_NE(std::string(pl_last_error()).find("step 2"), std::string::npos) << pl_last_error();
  EXPECT_PL_OK(pl_trainer_set_learning_rate(trainer.get(), 0.0F));
  EXPECT_EQ(pl_trainer_step(trainer.get(), &view, 1, nullptr), PL_BACKEND_EXECUTION);
  EXPECT_NE(std::string(pl_last_error()).find("step 2"), std::string::npos) << pl_last_error();
}

TEST_F(TrainerTest, RefusesWhatMakesNoSense) {
  pl_trainer* out = nullptr;
  pl_trainer_options options = small_trainer(1e-3F);
  options.rank = static_cast<int32_t>(info_.max_rank) + 1;
  EXPECT_EQ(pl_trainer_create(engine_.get(), &options, nullptr, &out), PL_RANK_TOO_LARGE);
  options = small_trainer(1e-3F);
  options.target_modules = "q_proj, nonsense";
  EXPECT_EQ(pl_trainer_create(engine_.get(), &options, nullptr, &out), PL_UNKNOWN_TARGET_MODULE);
  options = small_trainer(std::numeric_limits<float>::quiet_NaN());
  EXPECT_EQ(pl_trainer_create(engine_.get(), &options, nullptr, &out), PL_INVALID_ARGUMENT);
  options = small_trainer(1e-3F);
  options.dropout = 1.0F;
  EXPECT_EQ(pl_trainer_create(engine_.get(), &options, nullptr, &out), PL_INVALID_ARGUMENT);
  EXPECT_EQ(out, nullptr);
}

TEST_F(TrainerTest, RefusesBatchesThatCannotBeTrainedOn) {
  const TrainerHandle trainer = new_trainer(small_trainer(1e-3F));
  const TestBatch too_long({std::vector<int64_t>(static_cast<size_t>(info_.train_t_max) + 1, 1)});
  pl_batch view = too_long.view();
  EXPECT_EQ(pl_trainer_step(trainer.get(), &view, 1, nullptr), PL_SEQUENCE_TOO_LONG);
  TestBatch masked({some_tokens(8, 19)});
  masked.labels.assign(8, -100);
  view = masked.view();
  EXPECT_EQ(pl_trainer_step(trainer.get(), &view, 1, nullptr), PL_INVALID_ARGUMENT);
  EXPECT_EQ(pl_trainer_step(trainer.get(), &view, 0, nullptr), PL_INVALID_ARGUMENT);
  view.tokens = nullptr;
  EXPECT_EQ(pl_trainer_step(trainer.get(), &view, 1, nullptr), PL_INVALID_ARGUMENT);
}

TEST_F(TrainerTest, GradientsAreReadByTheirPeftName) {
  const TrainerHandle trainer = new_trainer(small_trainer(1e-3F));
  std::vector<float> values(static_cast<size_t>(4 * info_.hidden_size));
  EXPECT_EQ(pl_trainer_get_gradient(trainer.get(), first_a_.c_str(), values.data(), values.size()), PL_INVALID_STATE);
  const TestBatch batch({some_tokens(12, 20)});
  gradients(trainer.get(), {batch.view()});
  EXPECT_EQ(pl_trainer_get_gradient(trainer.get(), "nonsense", values.data(), values.size()), PL_INVALID_ARGUMENT);
  EXPECT_EQ(pl_trainer_get_gradient(trainer.get(), first_a_.c_str(), values.data(), 1), PL_INVALID_ARGUMENT);
  for (const float value : gradient(trainer.get(), first_a_)) ASSERT_EQ(value, 0.0F);  // B is zero at the start
}

TEST_F(TrainerTest, TrainsOnlyTheModulesAskedFor) {
  pl_trainer_options options = small_trainer(1e-3F);
  options.target_modules = "v_proj";
  const TrainerHandle trainer = new_trainer(options);
  const TestBatch batch({some_tokens(12, 21)});
  gradients(trainer.get(), {batch.view()});
  std::vector<float> values(1);
  EXPECT_EQ(pl_trainer_get_gradient(trainer.get(), first_a_.c_str(), values.data(), 1), PL_INVALID_ARGUMENT);
  EXPECT_NE(std::string(pl_last_error()).find("has no tensor"), std::string::npos);
}

TEST_F(TrainerTest, TheBaseStaysCleanAndThePartsAddUp) {
  const TrainerHandle trainer = new_trainer(small_trainer(1e-3F));
  const TestBatch batch({some_tokens(32, 22)});
  step(trainer.get(), {batch.view()});
  pl_memory memory = {};
  memory.struct_size = sizeof(memory);
  EXPECT_PL_OK(pl_engine_get_memory(engine_.get(), &memory));
  EXPECT_EQ(memory.base_private_dirty, 0);
  EXPECT_GT(memory.base_resident, 0);
  for (const int64_t part : {memory.arena, memory.block_inputs, memory.adapter, memory.gradients, memory.optimizer}) {
    EXPECT_GT(part, 0);
  }
  const int64_t parts = memory.arena + memory.block_inputs + memory.adapter + memory.gradients + memory.optimizer +
                        memory.kv_cache + memory.scratch + memory.other;
  EXPECT_EQ(memory.unexplained, memory.rss_anon - parts);
}

}  // namespace
}  // namespace pocketlora
