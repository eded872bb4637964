#include "session/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>

namespace pocketlora {
namespace {

Sampler make(float temperature, float top_p, uint64_t seed) {
  SamplingOptions options;
  options.temperature = temperature;
  options.top_p = top_p;
  options.seed = seed;
  return Sampler::create(options).value();
}

int64_t draw(Sampler& sampler, const std::vector<float>& logits) {
  const Result<int64_t> token = sampler.sample(logits);
  EXPECT_TRUE(token.ok());
  return token.value();
}

TEST(Sampler, GreedyTakesTheLargestAndTheLowestIdAmongEquals) {
  Sampler sampler = make(0.0F, 1.0F, 1);
  EXPECT_EQ(draw(sampler, {0.5F, 2.0F, -1.0F, 2.0F}), 1);
}

TEST(Sampler, TheSameSeedGivesTheSameTokens) {
  const std::vector<float> logits = {0.1F, 0.2F, 0.3F, 0.0F, -0.5F, 0.15F};
  Sampler first = make(1.0F, 1.0F, 42);
  Sampler second = make(1.0F, 1.0F, 42);
  Sampler other = make(1.0F, 1.0F, 43);
  bool differs = false;
  for (int i = 0; i < 64; ++i) {
    const int64_t token = draw(first, logits);
    EXPECT_EQ(token, draw(second, logits));
    differs = differs || token != draw(other, logits);
  }
  EXPECT_TRUE(differs);
}

TEST(Sampler, FrequenciesFollowTheSoftmax) {
  const std::vector<float> logits = {0.0F, std::log(2.0F), std::log(5.0F)};
  Sampler sampler = make(1.0F, 1.0F, 7);
  constexpr int kDraws = 20000;
  std::map<int64_t, int> counts;
  for (int i = 0; i < kDraws; ++i) ++counts[draw(sampler, logits)];
  const double expected[] = {1.0 / 8, 2.0 / 8, 5.0 / 8};
  for (int token = 0; token < 3; ++token) {
    const double p = expected[token];
    const double five_sigma = 5 * std::sqrt(p * (1 - p) / kDraws);
    EXPECT_NEAR(counts[token] / static_cast<double>(kDraws), p, five_sigma);
  }
}

TEST(Sampler, LowTemperatureApproachesGreedy) {
  Sampler sampler = make(0.01F, 1.0F, 3);
  // The odds of the second token are e^-100.
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(draw(sampler, {1.0F, 2.0F, 0.0F}), 1);
}

TEST(Sampler, TopPKeepsTheFewestTokensThatReachIt) {
  const std::vector<float> logits = {std::log(0.5F), std::log(0.3F), std::log(0.15F), std::log(0.05F)};
  Sampler sampler = make(1.0F, 0.7F, 11);
  std::map<int64_t, int> counts;
  for (int i = 0; i < 2000; ++i) ++counts[draw(sampler, logits)];
  EXPECT_EQ(counts.size(), 2U);
  EXPECT_GT(counts[0], 0);
  EXPECT_GT(counts[1], 0);
}

TEST(Sampler, TopPReachesBeyondTheFirstSortedTokens) {
  const std::vector<float> logits(1000, 0.0F);  // uniform: 90 % are 900 tokens, ids 0 to 899
  Sampler sampler = make(1.0F, 0.9F, 5);
  int64_t largest = 0;
  for (int i = 0; i < 5000; ++i) largest = std::max(largest, draw(sampler, logits));
  EXPECT_GT(largest, 700);
  EXPECT_LE(largest, 900);
}

TEST(Sampler, RefusesNaN) {
  Sampler sampler = make(0.0F, 1.0F, 0);
  const std::vector<float> logits = {0.0F, std::numeric_limits<float>::quiet_NaN()};
  const Result<int64_t> token = sampler.sample(logits);
  ASSERT_FALSE(token.ok());
  EXPECT_EQ(token.status().code(), PL_BACKEND_EXECUTION);
}

TEST(Sampler, RefusesLogitsWhoseLargestIsNotFinite) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  const std::vector<float> cases[] = {{0.0F, kInf}, {-kInf, -kInf}, {kInf, kInf, -kInf}, {}};
  for (const float temperature : {0.0F, 1.0F}) {
    for (const float top_p : {0.5F, 1.0F}) {
      for (const std::vector<float>& logits : cases) {
        const Result<int64_t> token = make(temperature, top_p, 1).sample(logits);
        ASSERT_FALSE(token.ok());
        EXPECT_EQ(token.status().code(), PL_BACKEND_EXECUTION);
        EXPECT_EQ(token.status().message(), "the largest logit is not finite");
      }
    }
  }
}

TEST(Sampler, NeverDrawsATokenThatIsRuledOut) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  for (const float top_p : {0.5F, 1.0F}) {
    Sampler sampler = make(1.0F, top_p, 1);
    for (int i = 0; i < 100; ++i) EXPECT_EQ(draw(sampler, {-kInf, 0.0F, -kInf}), 1);
  }
}

TEST(Sampler, ListsAllOptionsOutOfRange) {
  SamplingOptions options;
  options.temperature = -1.0F;
  options.top_p = 0.0F;
  const Result<Sampler> sampler = Sampler::create(options);
  ASSERT_FALSE(sampler.ok());
  EXPECT_EQ(sampler.status().code(), PL_INVALID_ARGUMENT);
  EXPECT_NE(sampler.status().message().find("temperature"), std::string::npos);
  EXPECT_NE(sampler.status().message().find("top_p"), std::string::npos);
}

Sampler make(const SamplingOptions& options) { return Sampler::create(options).value(); }

std::map<int64_t, int> counts_of(Sampler sampler, const std::vector<float>& logits, int draws) {
  std::map<int64_t, int> counts;
  for (int i = 0; i < draws; ++i) ++counts[draw(sampler, logits)];
  return counts;
}

TEST(Sampler, TopKKeepsTheMostProbable) {
  SamplingOptions options;
  options.temperature = 1.0F;
  options.top_k = 2;
  const auto counts = counts_of(make(options), {0.0F, std::log(3.0F), -1.0F, std::log(2.0F), 0.5F}, 20000);
  ASSERT_EQ(counts.size(), 2U);
  const double five_sigma = 5 * std::sqrt(0.6 * 0.4 / 20000);
  EXPECT_NEAR(counts.at(1) / 20000.0, 3.0 / 5, five_sigma);
  EXPECT_EQ(counts.count(3), 1U);
}

TEST(Sampler, TopPIsAShareOfWhatTopKLeft) {
  SamplingOptions options;
  options.temperature = 1.0F;
  options.top_k = 2;
  options.top_p = 0.6F;  // of 4 + 3 = 7, the first has 0.57: the second is needed; of 4 + 3 + 2 + 1 it would not be
  const std::vector<float> logits = {std::log(4.0F), std::log(3.0F), std::log(2.0F), std::log(1.0F)};
  EXPECT_EQ(counts_of(make(options), logits, 2000).size(), 2U);
  options.top_p = 0.5F;
  EXPECT_EQ(counts_of(make(options), logits, 2000).size(), 1U);
}

TEST(Sampler, MinPIsAShareOfTheMostProbable) {
  SamplingOptions options;
  options.temperature = 1.0F;
  options.min_p = 0.45F;
  std::vector<float> logits(1000, -20.0F);
  logits[700] = std::log(4.0F);
  logits[5] = std::log(2.0F);
  logits[6] = std::log(1.7F);
  const auto counts = counts_of(make(options), logits, 5000);
  ASSERT_EQ(counts.size(), 2U);
  EXPECT_EQ(counts.count(700) + counts.count(5), 2U);
  options.min_p = 1.0F;
  EXPECT_EQ(counts_of(make(options), logits, 500).size(), 1U);
}

TEST(Sampler, FiltersThatKeepEverythingChangeNothingButTheOrder) {
  SamplingOptions options;
  options.temperature = 1.0F;
  options.top_k = 3;
  const auto counts = counts_of(make(options), {0.0F, std::log(2.0F), std::log(5.0F)}, 20000);
  for (const auto& [token, p] : std::map<int64_t, double>{{0, 0.125}, {1, 0.25}, {2, 0.625}}) {
    EXPECT_NEAR(counts.at(token) / 20000.0, p, 5 * std::sqrt(p * (1 - p) / 20000));
  }
}

TEST(Sampler, ThePenaltyDividesPositiveAndMultipliesNegativeLogitsOnce) {
  SamplingOptions options;
  options.repetition_penalty = 2.0F;
  Sampler sampler = make(options);
  const std::vector<float> logits = {4.0F, 2.5F, -1.0F};
  const std::vector<int64_t> none, first = {0}, twice = {0, 0}, both = {1, 0};
  EXPECT_EQ(sampler.sample(logits, none).value(), 0);
  EXPECT_EQ(sampler.sample(logits, first).value(), 1);  // 2.0 against 2.5
  EXPECT_EQ(sampler.sample(logits, both).value(), 0);   // 2.0 against 1.25
  EXPECT_EQ(sampler.sample({logits.data(), 2}, twice).value(), 1);
  const std::vector<float> negative = {-1.0F, -1.5F};
  EXPECT_EQ(sampler.sample(negative, first).value(), 1);  // -2 against -1.5
}

TEST(Sampler, EverySettingOutOfRangeIsNamed) {
  SamplingOptions options;
  options.top_k = -1;
  options.min_p = 1.5F;
  options.repetition_penalty = 0.0F;
  const Status status = Sampler::create(options).status();
  EXPECT_EQ(status.code(), PL_INVALID_ARGUMENT);
  for (const char* name : {"top_k", "min_p", "repetition_penalty"}) {
    EXPECT_NE(status.message().find(name), std::string::npos) << name;
  }
}

}  // namespace
}  // namespace pocketlora
