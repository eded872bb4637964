#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>

#include "engine/engine.h"

namespace pocketlora {
namespace {

/// Binding errors of stages, against a real program (POCKETLORA_TEST_BUNDLE).
class StageTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const char* dir = std::getenv("POCKETLORA_TEST_BUNDLE");
    if (dir == nullptr || *dir == '\0') GTEST_SKIP() << "POCKETLORA_TEST_BUNDLE names no bundle";
    EngineOptions options;
    options.num_threads = 1;
    Result<std::shared_ptr<Engine>> engine = Engine::open(dir, options);
    ASSERT_TRUE(engine.ok()) << engine.status().message();
    engine_ = engine.value();
    graph_ = engine_->infer_graph().value();
    hidden_.resize(static_cast<size_t>(4 * engine_->manifest().model.hidden_size));
    rope_.resize(static_cast<size_t>(4 * engine_->manifest().model.head_dim));
    extents_.rows = 4;
  }

  size_t hidden_bytes() const { return hidden_.size() * sizeof(float); }
  size_t rope_bytes() const { return rope_.size() * sizeof(float); }

  std::shared_ptr<Engine> engine_;
  StageGraph* graph_ = nullptr;
  std::vector<float> hidden_, rope_;
  std::vector<int64_t> tokens_ = {1, 2, 3, 4}, positions_ = {0, 1, 2, 3};
  Extents extents_;
};

TEST_F(StageTest, RunsWithTheCallersPointers) {
  const Status status =
      graph_->run_embed(extents_, {{"tokens", tokens_.data()}, {"positions", positions_.data()}},
                        {{"hidden", hidden_.data(), hidden_bytes()}, {"rope", rope_.data(), rope_bytes()}});
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(rope_[0], 1.0F);  // cos 0
  const auto last_row = hidden_.end() - static_cast<std::ptrdiff_t>(hidden_.size() / 4);
  EXPECT_TRUE(std::any_of(last_row, hidden_.end(), [](float value) { return value != 0.0F; }));
}

TEST_F(StageTest, AnOutputThatIsNotBoundIsAnErrorNotACrash) {
  const Status status = graph_->run_embed(extents_, {{"tokens", tokens_.data()}, {"positions", positions_.data()}},
                                          {{"hidden", hidden_.data(), hidden_bytes()}});
  EXPECT_EQ(status.code(), PL_INTERNAL);
  EXPECT_NE(status.message().find("output 'rope' is not bound"), std::string::npos) << status.message();
}

TEST_F(StageTest, AnInputThatIsNotBoundIsAnError) {
  const Status status =
      graph_->run_embed(extents_, {{"tokens", tokens_.data()}},
                        {{"hidden", hidden_.data(), hidden_bytes()}, {"rope", rope_.data(), rope_bytes()}});
  EXPECT_EQ(status.code(), PL_INTERNAL);
  EXPECT_NE(status.message().find("input 'positions' is not bound"), std::string::npos) << status.message();
}

TEST_F(StageTest, ABufferThatIsTooSmallIsAnError) {
  const Status status =
      graph_->run_embed(extents_, {{"tokens", tokens_.data()}, {"positions", positions_.data()}},
                        {{"hidden", hidden_.data(), hidden_bytes() - 1}, {"rope", rope_.data(), rope_bytes()}});
  EXPECT_EQ(status.code(), PL_INTERNAL);
  EXPECT_NE(status.message().find("output 'hidden' needs"), std::string::npos) << status.message();
}

TEST_F(StageTest, MoreRowsThanTheProgramTakesIsAnErrorWithItsReason) {
  extents_.rows = engine_->manifest().limits.prefill_t_max + 1;
  const auto rows = static_cast<size_t>(extents_.rows);
  tokens_.assign(rows, 1);
  positions_.assign(rows, 0);
  hidden_.resize(rows * static_cast<size_t>(engine_->manifest().model.hidden_size));
  rope_.resize(rows * static_cast<size_t>(engine_->manifest().model.head_dim));
  const Status status =
      graph_->run_embed(extents_, {{"tokens", tokens_.data()}, {"positions", positions_.data()}},
                        {{"hidden", hidden_.data(), hidden_bytes()}, {"rope", rope_.data(), rope_bytes()}});
  EXPECT_EQ(status.code(), PL_BACKEND_EXECUTION);
  EXPECT_NE(status.message().find("binding input 'tokens'"), std::string::npos) << status.message();
}

TEST_F(StageTest, ATokenOutsideTheVocabularyFailsTheMethodAndTheNextRunWorks) {
  tokens_[2] = engine_->manifest().model.vocab_size;
  const std::vector<InputTensor> inputs = {{"tokens", tokens_.data()}, {"positions", positions_.data()}};
  const std::vector<OutputTensor> outputs = {{"hidden", hidden_.data(), hidden_bytes()},
                                             {"rope", rope_.data(), rope_bytes()}};
  const Status status = graph_->run_embed(extents_, inputs, outputs);
  EXPECT_EQ(status.code(), PL_BACKEND_EXECUTION);
  EXPECT_NE(status.message().find("embed"), std::string::npos) << status.message();
  tokens_[2] = 3;
  EXPECT_TRUE(graph_->run_embed(extents_, inputs, outputs).ok());
}

}  // namespace
}  // namespace pocketlora
