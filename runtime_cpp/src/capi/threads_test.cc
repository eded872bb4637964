#include <thread>

#include "capi/bundle_test_support.h"

namespace pocketlora {
namespace {

using ThreadsTest = BundleTest;

TEST_F(ThreadsTest, SessionsAndATrainerOfOneEngineDoNotDisturbEachOther) {
  constexpr int kRounds = 5;
  const AdapterHandle adapter = train_adapter(1);
  const std::vector<int64_t> tokens = some_tokens(12, 2);
  const TestBatch batch({some_tokens(16, 3)});
  const auto infer = [&](const pl_adapter* active, std::vector<float>* logits) {
    const SessionHandle session = new_session();
    if (active != nullptr) (void)set_adapters(session.get(), {active});
    for (int i = 0; i < kRounds; ++i) {
      *logits = empty_logits();
      EXPECT_PL_OK(pl_session_reset(session.get()));
      EXPECT_PL_OK(pl_session_prefill(session.get(), tokens.data(), tokens.size(), nullptr));
      EXPECT_PL_OK(pl_session_decode(session.get(), 7, logits->data()));
    }
  };
  const auto train = [&](double* loss) {
    const pl_trainer_options options = small_trainer(1e-3F);
    const TrainerHandle trainer = create_trainer(engine_.get(), &options, nullptr, nullptr);
    const pl_batch view = batch.view();
    pl_step_report report = {};
    report.struct_size = sizeof(report);
    for (int i = 0; i < kRounds; ++i) EXPECT_PL_OK(pl_trainer_step(trainer.get(), &view, 1, &report));
    *loss = report.loss;
  };

  std::vector<float> base;
  std::vector<float> adapted;
  double loss = 0.0;
  infer(nullptr, &base);
  infer(adapter.get(), &adapted);
  train(&loss);

  std::vector<float> base_together;
  std::vector<float> adapted_together;
  double loss_together = 0.0;
  std::thread first([&] { infer(nullptr, &base_together); });
  std::thread second([&] { infer(adapter.get(), &adapted_together); });
  train(&loss_together);
  first.join();
  second.join();
  EXPECT_EQ(base_together, base);
  EXPECT_EQ(adapted_together, adapted);
  EXPECT_EQ(loss_together, loss);
}

}  // namespace
}  // namespace pocketlora
