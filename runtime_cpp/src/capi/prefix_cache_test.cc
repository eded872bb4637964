#include <algorithm>
#include <map>

#include "capi/bundle_test_support.h"
#include "common/splitmix64.h"

namespace pocketlora {
namespace {

using Tokens = std::vector<int64_t>;
using Calls = std::vector<Tokens>;  ///< tokens as they were computed, call after call

/// What a session holds, told in terms of what a fresh session would have to be given.
struct Model {
  size_t adapters = 0;
  Calls calls;
  Tokens pending;

  int64_t length() const {
    size_t count = pending.size();
    for (const Tokens& tokens : calls) count += tokens.size();
    return static_cast<int64_t>(count);
  }
  void forget_rows() {
    Tokens all;
    for (const Tokens& tokens : calls) all.insert(all.end(), tokens.begin(), tokens.end());
    pending.insert(pending.begin(), all.begin(), all.end());
    calls.clear();
  }
  void truncate(int64_t length) {
    while (this->length() > length && !pending.empty()) pending.pop_back();
    while (this->length() > length) {
      pending = calls.back();
      calls.pop_back();
      const int64_t rest = length - (this->length() - static_cast<int64_t>(pending.size()));
      pending.resize(static_cast<size_t>(std::max<int64_t>(rest, 0)));
    }
  }
  void extend(const Tokens& tokens) {
    pending.insert(pending.end(), tokens.begin(), tokens.end());
    calls.push_back(std::move(pending));
    pending.clear();
  }
};

class PrefixCacheTest : public BundleTest {
 protected:
  void SetUp() override {
    BundleTest::SetUp();
    if (IsSkipped()) return;
    first_ = train_adapter(21, 6);
    second_ = train_adapter(22, 6);
    sets_ = {{},
             {{first_.get(), 1.0F}},
             {{second_.get(), 1.0F}},
             {{first_.get(), 0.5F}, {second_.get(), 0.5F}},
             {{first_.get(), 0.5F}}};
  }

  EngineHandle engine_with(int64_t bytes) const {
    pl_engine_options options = engine_options();
    options.num_threads = 1;
    options.prefix_cache_bytes = bytes;
    Error problem;
    EngineHandle engine = open_engine(dir_, &options, &problem);
    EXPECT_TRUE(engine) << problem.message;
    return engine;
  }

  SessionHandle session_of(const EngineHandle& engine, const pl_session_options* options = nullptr) const {
    Error problem;
    SessionHandle session = create_session(engine.get(), options, &problem);
    EXPECT_TRUE(session) << problem.message;
    return session;
  }

  void set(pl_session* session, size_t adapters) const {
    EXPECT_PL_OK(pl_session_set_adapters(session, sets_[adapters].data(), sets_[adapters].size()));
  }

  std::vector<float> prefill(pl_session* session, const Tokens& tokens) const {
    std::vector<float> logits = empty_logits();
    EXPECT_PL_OK(pl_session_prefill(session, tokens.data(), tokens.size(), logits.data()));
    return logits;
  }

  /// What a fresh session of an engine without a cache answers.
  const std::vector<float>& expected(const Model& model) {
    std::vector<float>& logits = known_[{model.adapters, model.calls}];
    if (!logits.empty()) return logits;
    const SessionHandle session = new_session();
    set(session.get(), model.adapters);
    for (const Tokens& tokens : model.calls) logits = prefill(session.get(), tokens);
    return logits;
  }

  int64_t copied(const pl_session* session) const {
    pl_session_info info = {};
    info.struct_size = sizeof(info);
    EXPECT_PL_OK(pl_session_get_info(session, &info));
    return info.copied_tokens;
  }

  AdapterHandle first_, second_;
  std::vector<std::vector<pl_adapter_ref>> sets_;
  std::map<std::pair<size_t, Calls>, std::vector<float>> known_;
};

constexpr int64_t kPlenty = int64_t{64} << 20;

TEST_F(PrefixCacheTest, ASharedPromptIsCopiedAndAnswersTheSame) {
  const EngineHandle engine = engine_with(kPlenty);
  const Tokens prompt = some_tokens(40, 1), question = some_tokens(6, 2), other = some_tokens(7, 3);
  const SessionHandle one = session_of(engine), two = session_of(engine);
  prefill(one.get(), prompt);
  EXPECT_EQ(prefill(one.get(), question), expected({0, {prompt, question}, {}}));
  EXPECT_EQ(copied(one.get()), 0);
  EXPECT_EQ(prefill(two.get(), prompt), expected({0, {prompt}, {}}));
  EXPECT_EQ(copied(two.get()), 40);
  EXPECT_EQ(prefill(two.get(), other), expected({0, {prompt, other}, {}}));
  EXPECT_EQ(copied(two.get()), 40);
  // The same tokens in one call are rounded otherwise, so they are other rows.
  Tokens joined = prompt;
  joined.insert(joined.end(), question.begin(), question.end());
  const SessionHandle three = session_of(engine);
  EXPECT_EQ(prefill(three.get(), joined), expected({0, {joined}, {}}));
  EXPECT_EQ(copied(three.get()), 0);
}

TEST_F(PrefixCacheTest, RowsAreOfOneSetOneWeightOneFormatAndOneCompute) {
  const EngineHandle engine = engine_with(kPlenty);
  const Tokens prompt = some_tokens(12, 4);
  for (size_t adapters = 0; adapters < sets_.size(); ++adapters) {
    const SessionHandle session = session_of(engine);
    set(session.get(), adapters);
    EXPECT_EQ(prefill(session.get(), prompt), expected({adapters, {prompt}, {}})) << adapters;
    EXPECT_EQ(copied(session.get()), 0) << adapters;
  }
  for (const pl_cache_dtype dtype : {PL_CACHE_FLOAT16, PL_CACHE_INT8}) {
    pl_session_options options = session_options();
    options.cache_dtype = dtype;
    const SessionHandle session = session_of(engine, &options);
    prefill(session.get(), prompt);
    EXPECT_EQ(copied(session.get()), 0);
  }
  for (const pl_compute compute : {PL_COMPUTE_FLOAT32, PL_COMPUTE_INT16, PL_COMPUTE_INT8, PL_COMPUTE_BF16}) {
    pl_session_options options = session_options();
    options.compute = compute;
    options.context_length = 64;
    const SessionHandle session = session_of(engine, &options);
    const SessionHandle plain = create_session(engine_.get(), &options, nullptr);
    EXPECT_EQ(prefill(session.get(), prompt), prefill(plain.get(), prompt));
  }
}

TEST_F(PrefixCacheTest, AnAdapterLoadedAgainIsAnother) {
  const EngineHandle engine = engine_with(kPlenty);
  const Tokens prompt = some_tokens(12, 5);
  const std::string dir = ::testing::TempDir() + "prefix_cache_adapter";
  EXPECT_PL_OK(pl_adapter_save(first_.get(), dir.c_str()));
  for (int round = 0; round < 2; ++round) {
    const AdapterHandle adapter = load_adapter(engine.get(), dir, nullptr);
    const SessionHandle session = session_of(engine);
    EXPECT_FALSE(set_adapters(session.get(), {adapter.get()}));
    EXPECT_EQ(prefill(session.get(), prompt), expected({1, {prompt}, {}}));
    EXPECT_EQ(copied(session.get()), 0) << "round " << round;
  }
}

TEST_F(PrefixCacheTest, TheBudgetIsChargedAndKept) {
  const int64_t budget = int64_t{256} << 10;
  const EngineHandle engine = engine_with(budget);
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const SessionHandle session = session_of(engine);
    prefill(session.get(), some_tokens(30, 100 + seed));
  }
  pl_memory memory = {};
  memory.struct_size = sizeof(memory);
  EXPECT_PL_OK(pl_engine_get_memory(engine.get(), &memory));
  EXPECT_GT(memory.kv_cache, 0);
  EXPECT_LE(memory.kv_cache, budget);

  pl_engine_options options = engine_options();
  options.prefix_cache_bytes = -1;
  pl_engine* out = nullptr;
  EXPECT_EQ(pl_engine_open(dir_.c_str(), &options, &out), PL_INVALID_ARGUMENT);
  options.memory_limit = options.prefix_cache_bytes = int64_t{1} << 30;
  EXPECT_EQ(pl_engine_open(dir_.c_str(), &options, &out), PL_INVALID_ARGUMENT);
}

/// Any sequence of prompts, swaps, truncations, forks and resets: every answer is that of a fresh session, with rows
/// that come and go in a cache too small for all of them.
TEST_F(PrefixCacheTest, NothingOfOneAdapterReachesAnother) {
  const EngineHandle engine = engine_with(int64_t{768} << 10);
  std::vector<Tokens> pieces;
  for (const size_t length : {1, 2, 7, 16, 17, 30}) pieces.push_back(some_tokens(length, 30 + length));
  constexpr int64_t kLongest = 96;
  struct Live {
    SessionHandle session;
    Model model;
  };
  std::vector<Live> live(3);
  for (Live& one : live) one.session = session_of(engine);
  SplitMix64 random(2026);
  const auto below = [&random](size_t count) { return static_cast<size_t>(random.next() % count); };
  int64_t reused = 0;
  for (int step = 0; step < 400; ++step) {
    Live& one = live[below(live.size())];
    const size_t choice = below(10);
    if (choice < 5) {
      const Tokens& piece = pieces[below(pieces.size())];
      if (one.model.length() + static_cast<int64_t>(piece.size()) > kLongest) continue;
      one.model.extend(piece);
      ASSERT_EQ(prefill(one.session.get(), piece), expected(one.model)) << "step " << step;
    } else if (choice < 7) {
      one.model.adapters = below(sets_.size());
      one.model.forget_rows();
      set(one.session.get(), one.model.adapters);
    } else if (choice == 7) {
      const auto length = static_cast<int64_t>(below(static_cast<size_t>(one.model.length()) + 1));
      one.model.truncate(length);
      EXPECT_PL_OK(pl_session_truncate(one.session.get(), length));
    } else if (choice == 8) {
      Live& other = live[below(live.size())];
      if (&other == &one) continue;
      reused += copied(other.session.get());
      other = {fork_session(one.session.get(), nullptr), one.model};
      ASSERT_NE(other.session, nullptr);
    } else {
      one.model.calls.clear();
      one.model.pending.clear();
      EXPECT_PL_OK(pl_session_reset(one.session.get()));
    }
    ASSERT_EQ(pl_session_length(one.session.get()), one.model.length()) << "step " << step;
  }
  for (const Live& one : live) reused += copied(one.session.get());
  EXPECT_GT(reused, 50) << "the cache was hardly used";
}

}  // namespace
}  // namespace pocketlora
