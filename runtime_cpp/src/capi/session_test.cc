#include <algorithm>
#include <cfloat>
#include <cmath>

#include "capi/bundle_test_support.h"

namespace pocketlora {
namespace {

class SessionTest : public BundleTest {
 protected:
  std::vector<float> prefill(pl_session* session, const std::vector<int64_t>& tokens) const {
    std::vector<float> logits = empty_logits();
    EXPECT_PL_OK(pl_session_prefill(session, tokens.data(), tokens.size(), logits.data()));
    return logits;
  }

  std::vector<float> decode(pl_session* session, int64_t token) const {
    std::vector<float> logits = empty_logits();
    EXPECT_PL_OK(pl_session_decode(session, token, logits.data()));
    return logits;
  }

  std::vector<float> fresh(const pl_adapter* adapter, const std::vector<int64_t>& tokens) const {
    const SessionHandle session = new_session();
    if (adapter != nullptr) {
      EXPECT_FALSE(set_adapters(session.get(), {adapter}));
    }
    return prefill(session.get(), tokens);
  }

  /// Two orders of summation in fp32: each of the layers' reductions, of at most `hidden * 4` terms, may round
  /// differently.
  float tolerance(const std::vector<float>& logits) const {
    float largest = 0.0F;
    for (const float value : logits) largest = std::max(largest, std::abs(value));
    return FLT_EPSILON * static_cast<float>(4 * info_.hidden_size * info_.num_layers) * largest;
  }

  void expect_close(const std::vector<float>& a, const std::vector<float>& b) const {
    const float bound = tolerance(a);
    for (size_t i = 0; i < a.size(); ++i) ASSERT_NEAR(a[i], b[i], bound) << "token " << i;
  }
};

std::vector<int64_t> generate_all(pl_session* session, const std::vector<int64_t>& prompt,
                                  const pl_generate_options& options, pl_generate_report* report) {
  std::vector<int64_t> tokens;
  const pl_token_callback keep = [](int64_t token, void* user) {
    static_cast<std::vector<int64_t>*>(user)->push_back(token);
    return 0;
  };
  EXPECT_PL_OK(pl_session_generate(session, prompt.data(), prompt.size(), &options, keep, &tokens, report));
  return tokens;
}

TEST_F(SessionTest, DecodeContinuesAPrefill) {
  const std::vector<int64_t> tokens = some_tokens(12, 1);
  const SessionHandle session = new_session();
  prefill(session.get(), {tokens.begin(), tokens.begin() + 9});
  decode(session.get(), tokens[9]);
  decode(session.get(), tokens[10]);
  expect_close(fresh(nullptr, tokens), decode(session.get(), tokens[11]));
  EXPECT_EQ(pl_session_length(session.get()), 12);
}

TEST_F(SessionTest, LongPromptsAreSplit) {
  const auto length = static_cast<size_t>(std::min(info_.max_seq_len, info_.prefill_t_max + 1));
  const std::vector<int64_t> tokens = some_tokens(length, 2);
  const SessionHandle session = new_session();
  const size_t half = length / 2;
  prefill(session.get(), {tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(half)});
  const std::vector<float> in_two =
      prefill(session.get(), {tokens.begin() + static_cast<std::ptrdiff_t>(half), tokens.end()});
  expect_close(fresh(nullptr, tokens), in_two);
}

TEST_F(SessionTest, ASwapEqualsAFreshSessionBitForBit) {
  const AdapterHandle a = train_adapter(1);
  const AdapterHandle b = train_adapter(2);
  std::vector<int64_t> tokens = some_tokens(10, 3);
  const SessionHandle session = new_session();
  std::vector<float> previous = prefill(session.get(), tokens);
  EXPECT_EQ(previous, fresh(nullptr, tokens));
  for (const pl_adapter* adapter : {a.get(), b.get(), static_cast<pl_adapter*>(nullptr)}) {
    EXPECT_PL_OK(adapter == nullptr ? pl_session_set_adapters(session.get(), nullptr, 0)
                                    : set_adapters(session.get(), {adapter}).status);
    tokens.push_back(5);
    const std::vector<float> swapped = decode(session.get(), 5);
    EXPECT_EQ(swapped, fresh(adapter, tokens));
    EXPECT_NE(swapped, previous);
    previous = swapped;
  }
}

TEST_F(SessionTest, ASwapFromTheCallbackTakesEffectAtTheNextToken) {
  struct Swap {
    pl_session* session;
    const pl_adapter* adapter;
    std::vector<int64_t> tokens;
  };
  const AdapterHandle adapter = train_adapter(4, 20);
  const SessionHandle session = new_session();
  Swap swap{session.get(), adapter.get(), {}};
  const pl_token_callback callback = [](int64_t token, void* user) {
    auto* state = static_cast<Swap*>(user);
    state->tokens.push_back(token);
    if (state->tokens.size() == 3) {
      EXPECT_FALSE(set_adapters(state->session, {state->adapter}));
    }
    return 0;
  };
  pl_generate_options options = generate_options();
  options.max_new_tokens = 8;
  const int64_t never = -1;
  options.stop_tokens = &never;
  options.num_stop_tokens = 1;
  const std::vector<int64_t> prompt = some_tokens(6, 5);
  EXPECT_PL_OK(pl_session_generate(session.get(), prompt.data(), prompt.size(), &options, callback, &swap, nullptr));
  ASSERT_EQ(swap.tokens.size(), 8U);

  std::vector<int64_t> context = prompt;
  context.insert(context.end(), swap.tokens.begin(), swap.tokens.begin() + 3);
  const SessionHandle other = new_session();
  EXPECT_FALSE(set_adapters(other.get(), {adapter.get()}));
  options.max_new_tokens = 5;
  const std::vector<int64_t> rest = generate_all(other.get(), context, options, nullptr);
  EXPECT_EQ(rest, (std::vector<int64_t>{swap.tokens.begin() + 3, swap.tokens.end()}));
}

TEST_F(SessionTest, TwoHalvesOfAnAdapterEqualTheWhole) {
  const AdapterHandle adapter = train_adapter(6);
  const std::vector<int64_t> tokens = some_tokens(10, 7);
  const SessionHandle session = new_session();
  const pl_adapter_ref halves[] = {{adapter.get(), 0.25F}, {adapter.get(), 0.75F}};
  EXPECT_PL_OK(pl_session_set_adapters(session.get(), halves, 2));
  expect_close(fresh(adapter.get(), tokens), prefill(session.get(), tokens));
}

TEST_F(SessionTest, GreedyGenerationIsTheArgmaxOfDecode) {
  const std::vector<int64_t> prompt = some_tokens(7, 8);
  pl_generate_options options = generate_options();
  options.max_new_tokens = 5;
  const int64_t never = -1;
  options.stop_tokens = &never;
  options.num_stop_tokens = 1;
  pl_generate_report report = {};
  report.struct_size = sizeof(report);
  const SessionHandle session = new_session();
  const std::vector<int64_t> tokens = generate_all(session.get(), prompt, options, &report);
  EXPECT_EQ(report.prompt_tokens, 7);
  EXPECT_EQ(report.new_tokens, 5);
  EXPECT_EQ(report.stop_reason, 0);
  EXPECT_EQ(pl_session_length(session.get()), 12);

  const SessionHandle by_hand = new_session();
  std::vector<float> logits = prefill(by_hand.get(), prompt);
  for (const int64_t token : tokens) {
    EXPECT_EQ(token, std::max_element(logits.begin(), logits.end()) - logits.begin());
    logits = decode(by_hand.get(), token);
  }
}

TEST_F(SessionTest, StopsAtAStopTokenAndGoesOnFromThere) {
  const std::vector<int64_t> prompt = some_tokens(7, 8);
  pl_generate_options options = generate_options();
  options.max_new_tokens = 6;
  const int64_t never = -1;
  options.stop_tokens = &never;
  options.num_stop_tokens = 1;
  const SessionHandle session = new_session();
  const std::vector<int64_t> all = generate_all(session.get(), prompt, options, nullptr);

  pl_generate_report report = {};
  report.struct_size = sizeof(report);
  const SessionHandle stopped = new_session();
  options.stop_tokens = &all[1];
  const std::vector<int64_t> first = generate_all(stopped.get(), prompt, options, &report);
  EXPECT_EQ(report.stop_reason, 1);
  EXPECT_EQ(first.back(), all[1]);
  options.stop_tokens = &never;
  options.max_new_tokens = 6 - static_cast<int64_t>(first.size());
  const std::vector<int64_t> second = generate_all(stopped.get(), {}, options, nullptr);
  std::vector<int64_t> joined = first;
  joined.insert(joined.end(), second.begin(), second.end());
  EXPECT_EQ(joined, all);
}

TEST_F(SessionTest, TheSameSeedGivesTheSameText) {
  pl_generate_options options = generate_options();
  options.max_new_tokens = 12;
  options.temperature = 1.5F;
  options.top_p = 0.95F;
  options.seed = 99;
  const std::vector<int64_t> prompt = some_tokens(4, 9);
  const SessionHandle first = new_session();
  const SessionHandle second = new_session();
  EXPECT_EQ(generate_all(first.get(), prompt, options, nullptr), generate_all(second.get(), prompt, options, nullptr));
}

TEST_F(SessionTest, ARefusedCallLeavesTheTokensAsTheyWere) {
  const SessionHandle session = new_session();
  const std::vector<int64_t> tokens = some_tokens(5, 10);
  prefill(session.get(), tokens);
  const int64_t outside[] = {1, info_.vocab_size};
  EXPECT_EQ(pl_session_prefill(session.get(), outside, 2, nullptr), PL_INVALID_ARGUMENT);
  EXPECT_EQ(pl_session_decode(session.get(), -1, nullptr), PL_INVALID_ARGUMENT);
  const std::vector<int64_t> too_many(static_cast<size_t>(info_.max_seq_len), 1);
  EXPECT_EQ(pl_session_prefill(session.get(), too_many.data(), too_many.size(), nullptr), PL_SEQUENCE_TOO_LONG);
  EXPECT_EQ(pl_session_length(session.get()), 5);
  std::vector<int64_t> longer = tokens;
  longer.push_back(3);
  expect_close(fresh(nullptr, longer), decode(session.get(), 3));
}

TEST_F(SessionTest, GenerationEndsWithTheContext) {
  pl_session_options options = session_options();
  options.context_length = 8;
  const SessionHandle session = create_session(engine_.get(), &options, nullptr);
  pl_generate_options generate = generate_options();
  const int64_t never = -1;
  generate.stop_tokens = &never;
  generate.num_stop_tokens = 1;
  EXPECT_EQ(generate_all(session.get(), some_tokens(5, 11), generate, nullptr).size(), 3U);
  EXPECT_EQ(pl_session_generate(session.get(), nullptr, 0, &generate, nullptr, nullptr, nullptr), PL_SEQUENCE_TOO_LONG);
}

pl_session_info info_of(const pl_session* session) {
  pl_session_info info = {};
  info.struct_size = sizeof(info);
  EXPECT_PL_OK(pl_session_get_info(session, &info));
  return info;
}

TEST_F(SessionTest, EveryCacheDtypeSwapsBitForBitAndTellsItsSize) {
  const AdapterHandle adapter = train_adapter(14);
  const std::vector<int64_t> tokens = some_tokens(12, 15);
  std::vector<int64_t> longer = tokens;
  longer.push_back(7);
  const std::vector<float> reference = fresh(adapter.get(), longer);
  int64_t bytes = 0;
  for (const pl_cache_dtype dtype : {PL_CACHE_INT8, PL_CACHE_FLOAT16, PL_CACHE_FLOAT32}) {
    pl_session_options options = session_options();
    options.cache_dtype = dtype;
    options.context_length = 16;
    const SessionHandle session = create_session(engine_.get(), &options, nullptr);
    const SessionHandle other = create_session(engine_.get(), &options, nullptr);
    ASSERT_NE(session, nullptr);
    prefill(session.get(), tokens);
    EXPECT_FALSE(set_adapters(session.get(), {adapter.get()}));
    EXPECT_FALSE(set_adapters(other.get(), {adapter.get()}));
    const std::vector<float> swapped = decode(session.get(), 7);
    EXPECT_EQ(swapped, prefill(other.get(), longer)) << dtype;
    // The default is fp32; a narrower cache gives other logits.
    EXPECT_EQ(swapped == reference, dtype == PL_CACHE_FLOAT32);

    const pl_session_info info = info_of(session.get());
    EXPECT_EQ(info.cache_dtype, dtype);
    EXPECT_EQ(info.context_length, 16);
    EXPECT_EQ(info.length, 13);
    EXPECT_GT(info.bytes_per_token, bytes);
    EXPECT_GE(info.cache_resident, info.length * info.bytes_per_token);
    bytes = info.bytes_per_token;
  }
}

TEST_F(SessionTest, AResetGivesTheCacheBack) {
  const std::vector<int64_t> tokens = some_tokens(static_cast<size_t>(std::min<int64_t>(info_.max_seq_len, 64)), 16);
  const SessionHandle session = new_session();
  const std::vector<float> expected = prefill(session.get(), tokens);
  EXPECT_GT(info_of(session.get()).cache_resident, 0);
  EXPECT_PL_OK(pl_session_reset(session.get()));
  EXPECT_EQ(info_of(session.get()).cache_resident, 0);
  EXPECT_EQ(prefill(session.get(), tokens), expected);
}

TEST_F(SessionTest, RefusesWhatMakesNoSense) {
  pl_session* out = nullptr;
  pl_session_options options = session_options();
  options.context_length = info_.max_seq_len + 1;
  EXPECT_EQ(pl_session_create(engine_.get(), &options, &out), PL_SEQUENCE_TOO_LONG);
  EXPECT_EQ(out, nullptr);
  options = session_options();
  options.cache_dtype = static_cast<pl_cache_dtype>(17);
  EXPECT_EQ(pl_session_create(engine_.get(), &options, &out), PL_INVALID_ARGUMENT);
  const SessionHandle session = new_session();
  const pl_generate_options generate = generate_options();
  EXPECT_EQ(pl_session_generate(session.get(), nullptr, 0, &generate, nullptr, nullptr, nullptr), PL_INVALID_STATE);
  EXPECT_EQ(pl_session_prefill(session.get(), nullptr, 3, nullptr), PL_INVALID_ARGUMENT);
  const pl_adapter_ref null_adapter = {nullptr, 1.0F};
  EXPECT_EQ(pl_session_set_adapters(session.get(), &null_adapter, 1), PL_INVALID_ARGUMENT);
  pl_generate_report report = {};  // struct_size is missing
  EXPECT_EQ(pl_session_generate(session.get(), nullptr, 0, &generate, nullptr, nullptr, &report), PL_INVALID_ARGUMENT);
}

TEST_F(SessionTest, TheEngineMayBeClosedFirst) {
  const AdapterHandle adapter = train_adapter(12);
  const SessionHandle session = new_session();
  EXPECT_FALSE(set_adapters(session.get(), {adapter.get()}));
  const std::vector<int64_t> tokens = some_tokens(6, 13);
  const std::vector<float> expected = fresh(adapter.get(), tokens);
  engine_.reset();
  EXPECT_EQ(prefill(session.get(), tokens), expected);
}

}  // namespace
}  // namespace pocketlora
