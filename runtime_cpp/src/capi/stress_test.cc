#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "capi/bundle_test_support.h"
#include "common/splitmix64.h"

namespace pocketlora {
namespace {

using Clock = std::chrono::steady_clock;
using Tokens = std::vector<int64_t>;

constexpr int kGenerators = 3;          // and one thread that trains
constexpr double kSwapsPerSecond = 50;  // of all generators together

/// Seconds that the threads run: POCKETLORA_STRESS_SECONDS, or a few.
double stress_seconds() {
  const char* asked = std::getenv("POCKETLORA_STRESS_SECONDS");
  return asked == nullptr ? 3.0 : std::atof(asked);
}

/// A conversation: a prompt, then swaps with some tokens after each.
struct Script {
  struct Turn {
    size_t adapters;
    int64_t new_tokens;
  };
  Tokens prompt;
  std::vector<Turn> turns;
};

/// What came of one.
struct Outcome {
  Tokens tokens;
  std::vector<float> logits;  ///< after the last token

  bool operator==(const Outcome& other) const { return tokens == other.tokens && logits == other.logits; }
};

class StressTest : public BundleTest {
 protected:
  void SetUp() override {
    BundleTest::SetUp();
    if (IsSkipped()) return;
    pl_engine_options options = engine_options();
    options.num_threads = 1;
    options.prefix_cache_bytes = int64_t{2} << 20;
    Error problem;
    shared_ = open_engine(dir_, &options, &problem);
    ASSERT_TRUE(shared_) << problem.message;
    for (uint64_t seed = 1; seed <= 3; ++seed) adapters_.push_back(train_adapter(seed, 5));
    sets_ = {{},
             {{adapters_[0].get(), 1.0F}},
             {{adapters_[1].get(), 1.0F}},
             {{adapters_[2].get(), 0.5F}},
             {{adapters_[0].get(), 0.5F}, {adapters_[2].get(), 0.75F}}};
    SplitMix64 random(7);
    for (uint64_t i = 0; i < 12; ++i) {
      Script script{some_tokens(3 + i % 3 * 9, 40 + i % 4), {}};
      for (int turn = 0; turn < 4; ++turn) {
        script.turns.push_back(
            {static_cast<size_t>(random.next() % sets_.size()), 1 + static_cast<int64_t>(random.next() % 3)});
      }
      scripts_.push_back(std::move(script));
    }
  }

  /// @param before_swap is called before each swap.
  template <typename BeforeSwap>
  Outcome play(pl_session* session, const Script& script, const BeforeSwap& before_swap) const {
    Outcome outcome;
    EXPECT_PL_OK(pl_session_reset(session));
    const Tokens* given = &script.prompt;
    const Tokens nothing;
    for (const Script::Turn& turn : script.turns) {
      before_swap();
      const auto& set = sets_[turn.adapters];
      EXPECT_PL_OK(pl_session_set_adapters(session, set.data(), set.size()));
      static const int64_t never = -1;
      pl_generate_options options = generate_options();
      options.max_new_tokens = turn.new_tokens;
      options.stop_tokens = &never;
      options.num_stop_tokens = 1;
      const pl_token_callback collect = [](int64_t token, void* user) {
        static_cast<Tokens*>(user)->push_back(token);
        return 0;
      };
      EXPECT_PL_OK(
          pl_session_generate(session, given->data(), given->size(), &options, collect, &outcome.tokens, nullptr));
      given = &nothing;
    }
    outcome.logits = empty_logits();
    EXPECT_PL_OK(pl_session_decode(session, 5, outcome.logits.data()));
    return outcome;
  }

  EngineHandle shared_;
  std::vector<AdapterHandle> adapters_;
  std::vector<std::vector<pl_adapter_ref>> sets_;
  std::vector<Script> scripts_;
};

TEST_F(StressTest, TrainingAndGeneratingWithSwapsEqualsQuietSessions) {
  std::vector<Outcome> expected;
  for (const Script& script : scripts_) {
    const SessionHandle session = new_session();  // of an engine that nobody else uses
    expected.push_back(play(session.get(), script, [] {}));
  }
  const TestBatch batch({some_tokens(24, 3)});
  const pl_batch view = batch.view();
  const pl_trainer_options options = small_trainer(1e-3F);

  const auto end =
      Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(stress_seconds()));
  std::atomic<int64_t> swaps{0}, outputs{0}, wrong{0};
  std::vector<double> losses;
  const auto generate = [&](uint64_t seed) {
    SplitMix64 random(seed);
    Error problem;
    SessionHandle session = create_session(shared_.get(), nullptr, &problem);
    ASSERT_TRUE(session) << problem.message;
    const auto pause =
        std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(kGenerators / kSwapsPerSecond));
    auto due = Clock::now();
    const auto before_swap = [&] {
      std::this_thread::sleep_until(due);
      // Where the machine is too slow for the rate, several swaps come between two tokens.
      for (; due + pause < Clock::now(); due += pause, ++swaps) {
        const auto& set = sets_[random.next() % sets_.size()];
        EXPECT_PL_OK(pl_session_set_adapters(session.get(), set.data(), set.size()));
      }
      due += pause;
      ++swaps;
    };
    while (Clock::now() < end) {
      const auto which = static_cast<size_t>(random.next() % scripts_.size());
      if (!(play(session.get(), scripts_[which], before_swap) == expected[which])) ++wrong;
      ++outputs;
      if (random.next() % 4 == 0) session = fork_session(session.get(), nullptr);
    }
  };
  const auto train = [&] {
    const TrainerHandle trainer = create_trainer(shared_.get(), &options, nullptr, nullptr);
    ASSERT_NE(trainer, nullptr);
    pl_step_report report = {};
    report.struct_size = sizeof(report);
    while (Clock::now() < end) {
      EXPECT_PL_OK(pl_trainer_step(trainer.get(), &view, 1, &report));
      losses.push_back(report.loss);
    }
  };
  const auto start = Clock::now();
  std::vector<std::thread> threads;
  threads.emplace_back(train);
  for (uint64_t i = 0; i < kGenerators; ++i) threads.emplace_back(generate, 100 + i);
  for (std::thread& thread : threads) thread.join();
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();

  // Training was not disturbed either: the same losses, step by step, as without company.
  const TrainerHandle quiet = create_trainer(engine_.get(), &options, nullptr, nullptr);
  for (size_t i = 0; i < std::min<size_t>(losses.size(), 100); ++i) {
    pl_step_report report = {};
    report.struct_size = sizeof(report);
    EXPECT_PL_OK(pl_trainer_step(quiet.get(), &view, 1, &report));
    ASSERT_EQ(losses[i], report.loss) << "step " << i;
  }
  EXPECT_EQ(wrong, 0) << "of " << outputs;
  EXPECT_GT(outputs, 0);
  EXPECT_FALSE(losses.empty());
  std::printf("%.0f s: %lld outputs with %.1f swaps/s, %zu training steps\n", seconds,
              static_cast<long long>(outputs.load()), static_cast<double>(swaps.load()) / seconds, losses.size());
}

}  // namespace
}  // namespace pocketlora
