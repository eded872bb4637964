#include <atomic>
#include <chrono>
#include <thread>

#include "capi/bundle_test_support.h"

namespace pocketlora {
namespace {

/// Truncation, forks and cancellation of sessions.
class SessionEditTest : public BundleTest {
 protected:
  using Tokens = std::vector<int64_t>;

  std::vector<float> prefill(pl_session* session, const Tokens& tokens) const {
    std::vector<float> logits = empty_logits();
    EXPECT_PL_OK(pl_session_prefill(session, tokens.data(), tokens.size(), logits.data()));
    return logits;
  }

  /// The logits of a new session that is given these one after the other.
  std::vector<float> fresh(const std::vector<Tokens>& calls) const {
    const SessionHandle session = new_session();
    std::vector<float> logits;
    for (const Tokens& tokens : calls) logits = prefill(session.get(), tokens);
    return logits;
  }

  static pl_generate_options greedy(int64_t new_tokens) {
    static const int64_t never = -1;
    pl_generate_options options = generate_options();
    options.max_new_tokens = new_tokens;
    options.stop_tokens = &never;
    options.num_stop_tokens = 1;
    return options;
  }

  Tokens generate(pl_session* session, const Tokens& prompt, int64_t new_tokens) const {
    Tokens tokens;
    const pl_generate_options options = greedy(new_tokens);
    const pl_token_callback collect = [](int64_t token, void* user) {
      static_cast<Tokens*>(user)->push_back(token);
      return 0;
    };
    EXPECT_PL_OK(pl_session_generate(session, prompt.data(), prompt.size(), &options, collect, &tokens, nullptr));
    return tokens;
  }
};

TEST_F(SessionEditTest, ATruncatedSessionGoesOnAsAFreshOne) {
  const Tokens first = some_tokens(20, 1), second = some_tokens(24, 2), other = some_tokens(5, 3);
  const SessionHandle session = new_session();
  prefill(session.get(), first);
  prefill(session.get(), second);
  EXPECT_PL_OK(pl_session_truncate(session.get(), 20));
  EXPECT_EQ(pl_session_length(session.get()), 20);
  EXPECT_EQ(prefill(session.get(), other), fresh({first, other}));

  // Inside a call: its rows are computed again, with the tokens that come.
  EXPECT_PL_OK(pl_session_truncate(session.get(), 8));
  Tokens rest(first.begin(), first.begin() + 8);
  rest.insert(rest.end(), other.begin(), other.end());
  EXPECT_EQ(prefill(session.get(), other), fresh({rest}));
  EXPECT_PL_OK(pl_session_truncate(session.get(), 0));
  EXPECT_EQ(prefill(session.get(), second), fresh({second}));
}

TEST_F(SessionEditTest, AnAnswerCanBeMadeAgain) {
  const Tokens prompt = some_tokens(20, 4);
  const SessionHandle session = new_session();
  const Tokens answer = generate(session.get(), prompt, 8);
  EXPECT_PL_OK(pl_session_truncate(session.get(), 20));
  EXPECT_EQ(generate(session.get(), {}, 8), answer);
  EXPECT_PL_OK(pl_session_truncate(session.get(), 23));
  EXPECT_EQ(generate(session.get(), {}, 5), Tokens(answer.begin() + 3, answer.end()));
}

TEST_F(SessionEditTest, TruncationRefusesWhatIsNotThere) {
  const SessionHandle session = new_session();
  prefill(session.get(), some_tokens(6, 5));
  EXPECT_EQ(pl_session_truncate(session.get(), 7), PL_INVALID_ARGUMENT);
  EXPECT_EQ(pl_session_truncate(session.get(), -1), PL_INVALID_ARGUMENT);
  EXPECT_PL_OK(pl_session_truncate(session.get(), 6));
  EXPECT_EQ(pl_session_length(session.get()), 6);
}

TEST_F(SessionEditTest, AForkGoesOnAsItsOriginAndNeitherSeesTheOther) {
  const AdapterHandle adapter = train_adapter(6);
  const Tokens prompt = some_tokens(20, 7);
  for (const pl_cache_dtype dtype : {PL_CACHE_FLOAT32, PL_CACHE_FLOAT16, PL_CACHE_INT8}) {
    pl_session_options options = session_options();
    options.cache_dtype = dtype;
    options.context_length = 64;
    const SessionHandle session = create_session(engine_.get(), &options, nullptr);
    EXPECT_FALSE(set_adapters(session.get(), {adapter.get()}));
    prefill(session.get(), prompt);
    const SessionHandle fork = fork_session(session.get(), nullptr);
    ASSERT_NE(fork, nullptr);
    const SessionHandle second = fork_session(fork.get(), nullptr);
    const Tokens expected = generate(session.get(), {}, 8);
    // What the origin did since changes nothing here, and the other way round.
    EXPECT_FALSE(set_adapters(session.get(), {}));
    EXPECT_PL_OK(pl_session_reset(session.get()));
    EXPECT_EQ(generate(fork.get(), {}, 8), expected);
    EXPECT_EQ(pl_session_length(second.get()), 20);
    EXPECT_EQ(generate(second.get(), {}, 8), expected);
    EXPECT_EQ(pl_session_length(session.get()), 0);
  }
}

TEST_F(SessionEditTest, ACancelEndsTheNextCallOnceAndLeavesTheTokens) {
  const Tokens prompt = some_tokens(20, 8), more = some_tokens(6, 9);
  const SessionHandle session = new_session();
  prefill(session.get(), prompt);
  EXPECT_PL_OK(pl_session_cancel(session.get()));
  EXPECT_EQ(pl_session_prefill(session.get(), more.data(), more.size(), nullptr), PL_CANCELLED);
  EXPECT_EQ(pl_session_length(session.get()), 20);
  EXPECT_EQ(prefill(session.get(), more), fresh({prompt, more}));
}

TEST_F(SessionEditTest, ACancelFromAnotherThreadEndsAGeneration) {
  struct Progress {
    std::atomic<int> tokens{0};
  };
  const SessionHandle session = new_session();
  const Tokens prompt = some_tokens(4, 10);
  Progress progress;
  const pl_token_callback count = [](int64_t, void* user) {
    ++static_cast<Progress*>(user)->tokens;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    return 0;
  };
  std::thread other([&] {
    while (progress.tokens < 3) std::this_thread::yield();
    EXPECT_PL_OK(pl_session_cancel(session.get()));
  });
  const pl_generate_options options = greedy(info_.max_seq_len);
  EXPECT_EQ(pl_session_generate(session.get(), prompt.data(), prompt.size(), &options, count, &progress, nullptr),
            PL_CANCELLED);
  other.join();
  const int written = progress.tokens;
  EXPECT_GE(written, 3);
  EXPECT_LT(written, info_.max_seq_len - 4);
  // The prompt and every token that was told are still there, and the cancel is used up.
  EXPECT_EQ(pl_session_length(session.get()), 4 + written);
  EXPECT_EQ(generate(session.get(), {}, 2).size(), 2U);
}

TEST_F(SessionEditTest, ACancelDuringACallThatEndsByItselfIsNotForTheNext) {
  const SessionHandle session = new_session();
  const Tokens prompt = some_tokens(4, 11);
  const pl_token_callback cancel = [](int64_t, void* user) {
    EXPECT_PL_OK(pl_session_cancel(static_cast<pl_session*>(user)));
    return 0;
  };
  const pl_generate_options options = greedy(1);
  EXPECT_PL_OK(
      pl_session_generate(session.get(), prompt.data(), prompt.size(), &options, cancel, session.get(), nullptr));
  EXPECT_EQ(generate(session.get(), {}, 2).size(), 2U);
}

}  // namespace
}  // namespace pocketlora
