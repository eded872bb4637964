#include "trainer/preference_loss.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace pocketlora {
namespace {

/// The formula as it is published, where nothing overflows.
double plain_loss(double beta, double smoothing, double logits) {
  const auto sigmoid = [](double x) { return 1.0 / (1.0 + std::exp(-x)); };
  return -(1.0 - smoothing) * std::log(sigmoid(beta * logits)) - smoothing * std::log(sigmoid(-beta * logits));
}

TEST(PreferenceLoss, IsThePublishedFormula) {
  for (const float beta : {0.1F, 0.5F, 2.0F}) {
    for (const float smoothing : {0.0F, 0.25F}) {
      for (const double logits : {-9.0, -0.3, 0.0, 1.7, 12.0}) {
        const PairLogprobs pair = {-20.0 + logits, -20.0, -7.5, -7.5};
        const PairLoss found = preference_loss({beta, smoothing}, pair);
        // beta is a decimal; logits carry the roundings of numbers of about 20.
        const double expected = plain_loss(beta == 0.1F ? 0.1 : static_cast<double>(beta), smoothing, logits);
        EXPECT_NEAR(found.loss, expected, 1e-13 * (1.0 + expected)) << beta << " " << smoothing << " " << logits;
      }
    }
  }
}

TEST(PreferenceLoss, TheSlopeIsThatOfTheLoss) {
  constexpr double kStep = 1e-5;
  for (const float smoothing : {0.0F, 0.1F}) {
    for (const double chosen : {-31.0, -12.0, -11.5, 3.0}) {
      const PreferenceOptions options = {0.7F, smoothing};
      const auto loss = [&](double c, double r) { return preference_loss(options, {c, r, -14.0, -13.0}).loss; };
      const double slope = preference_loss(options, {chosen, -12.0, -14.0, -13.0}).slope;
      // Central differences: an error of step² and of rounding / step, both about 1e-10.
      EXPECT_NEAR((loss(chosen + kStep, -12.0) - loss(chosen - kStep, -12.0)) / (2 * kStep), slope, 1e-9);
      EXPECT_NEAR((loss(chosen, -12.0 + kStep) - loss(chosen, -12.0 - kStep)) / (2 * kStep), -slope, 1e-9);
    }
  }
}

TEST(PreferenceLoss, IsFiniteHoweverFarApartTheAnswersAre) {
  const PairLoss bad = preference_loss({1.0F, 0.0F}, {-1e6, 0.0, 0.0, 0.0});
  EXPECT_DOUBLE_EQ(bad.loss, 1e6);
  EXPECT_DOUBLE_EQ(bad.slope, -1.0);
  const PairLoss good = preference_loss({1.0F, 0.0F}, {0.0, -1e6, 0.0, 0.0});
  EXPECT_EQ(good.loss, 0.0);
  EXPECT_EQ(good.slope, 0.0);
  EXPECT_TRUE(std::isnan(preference_loss({1.0F, 0.0F}, {NAN, 0.0, 0.0, 0.0}).loss));
}

TEST(PreferenceLoss, RewardsAreMeans) {
  RewardSums sums;
  EXPECT_EQ(sums.loss(), 0.0);
  EXPECT_EQ(sums.rewards().num_pairs, 0);
  sums.add(preference_loss({0.5F, 0.0F}, {-10.0, -12.0, -11.0, -10.0}));  // rewards 0.5 and −1
  sums.add(preference_loss({0.5F, 0.0F}, {-10.0, -12.0, -9.0, -14.0}));   // −0.5 and 1
  sums.add(preference_loss({0.5F, 0.0F}, {-10.0, -12.0, -10.0, -12.0}));  // a tie is not right
  const Rewards means = sums.rewards();
  EXPECT_EQ(means.num_pairs, 3);
  EXPECT_DOUBLE_EQ(means.chosen, 0.0);
  EXPECT_DOUBLE_EQ(means.rejected, 0.0);
  EXPECT_DOUBLE_EQ(means.margin, 0.0);
  EXPECT_DOUBLE_EQ(means.accuracy, 1.0 / 3.0);
  EXPECT_NEAR(sums.loss(), (plain_loss(1, 0, 1.5) + plain_loss(1, 0, -1.5) + std::log(2.0)) / 3, 1e-15);
}

TEST(PreferenceLoss, OptionsOutOfRangeAreAllNamed) {
  ProblemList problems;
  PreferenceOptions{0.0F, 0.5F}.check(&problems);
  PreferenceOptions{std::numeric_limits<float>::infinity(), -0.1F}.check(&problems);
  const Status status = problems.to_status(PL_INVALID_ARGUMENT, "options:");
  EXPECT_NE(status.message().find("beta: expected a finite number above 0, found 0"), std::string::npos);
  EXPECT_NE(status.message().find("found inf"), std::string::npos);
  EXPECT_NE(status.message().find("label_smoothing: expected at least 0 and less than 0.5, found 0.5"),
            std::string::npos);
}

}  // namespace
}  // namespace pocketlora
