#include "capi/bundle_test_support.h"

#include <cstdlib>

#include "common/splitmix64.h"

namespace pocketlora {

void BundleTest::SetUp() {
  const char* dir = std::getenv("POCKETLORA_TEST_BUNDLE");
  if (dir == nullptr || *dir == '\0') GTEST_SKIP() << "POCKETLORA_TEST_BUNDLE names no bundle";
  dir_ = dir;
  pl_engine_options options = engine_options();
  options.num_threads = 1;
  Error problem;
  engine_ = open_engine(dir_, &options, &problem);
  ASSERT_TRUE(engine_) << problem.message;
  info_.struct_size = sizeof(info_);
  ASSERT_EQ(pl_engine_get_info(engine_.get(), &info_), PL_OK);
}

std::vector<int64_t> BundleTest::some_tokens(size_t count, uint64_t seed) const {
  SplitMix64 random(seed);
  std::vector<int64_t> tokens(count);
  for (int64_t& token : tokens) token = static_cast<int64_t>(random.next() % static_cast<uint64_t>(info_.vocab_size));
  return tokens;
}

SessionHandle BundleTest::new_session() const {
  Error problem;
  SessionHandle session = create_session(engine_.get(), nullptr, &problem);
  EXPECT_TRUE(session) << problem.message;
  return session;
}

AdapterHandle BundleTest::train_adapter(uint64_t seed, int steps) const {
  pl_trainer_options options = small_trainer(1e-2F);
  options.seed = seed;
  Error problem;
  const TrainerHandle trainer = create_trainer(engine_.get(), &options, nullptr, &problem);
  EXPECT_TRUE(trainer) << problem.message;
  const TestBatch batch({some_tokens(16, seed)});
  const pl_batch view = batch.view();
  for (int i = 0; i < steps; ++i) EXPECT_PL_OK(pl_trainer_step(trainer.get(), &view, 1, nullptr));
  return trained_adapter(trainer.get(), &problem);
}

TestBatch::TestBatch(std::vector<std::vector<int64_t>> rows) : segments{0} {
  for (const auto& row : rows) {
    tokens.insert(tokens.end(), row.begin(), row.end());
    segments.push_back(static_cast<int64_t>(tokens.size()));
  }
  labels = tokens;
}

pl_batch TestBatch::view() const {
  return {sizeof(pl_batch), tokens.data(), labels.data(), segments.data(), tokens.size(), segments.size() - 1};
}

pl_trainer_options small_trainer(float learning_rate) {
  pl_trainer_options options = trainer_options();
  options.rank = 4;
  options.alpha = 8.0F;
  options.learning_rate = learning_rate;
  return options;
}

}  // namespace pocketlora
