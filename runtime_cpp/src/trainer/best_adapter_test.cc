#include "trainer/best_adapter.h"

#include <cmath>

#include "common/test_support.h"

namespace pocketlora {
namespace {

TEST(BestAdapter, StopsAfterSoManyValidationsWithoutImprovement) {
  BestAdapter best({false, 2, 0.1});
  EXPECT_TRUE(best.consider(0, 3.0, nullptr));
  EXPECT_TRUE(best.consider(10, 2.5, nullptr));
  EXPECT_FALSE(best.consider(20, 2.45, nullptr));  // less than min_delta below
  EXPECT_FALSE(best.should_stop());
  EXPECT_FALSE(best.consider(30, NAN, nullptr));
  EXPECT_TRUE(best.should_stop());
  EXPECT_TRUE(best.consider(40, 2.0, nullptr));
  EXPECT_FALSE(best.should_stop());
  EXPECT_EQ(best.state().best_step, 40);
  EXPECT_EQ(best.state().best_loss, 2.0);
}

TEST(BestAdapter, WhatIsNotFiniteIsNeverBest) {
  BestAdapter best;
  EXPECT_FALSE(best.consider(0, NAN, nullptr));
  EXPECT_TRUE(best.consider(1, 5.0, nullptr));
  EXPECT_EQ(best.state().best_step, 1);
  EXPECT_FALSE(best.should_stop());
}

}  // namespace
}  // namespace pocketlora
