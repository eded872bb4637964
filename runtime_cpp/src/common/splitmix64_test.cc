#include "common/splitmix64.h"

#include <gtest/gtest.h>

namespace pocketlora {
namespace {

// The reference implementation's first outputs for the seed 1234567.
TEST(SplitMix64, GivesTheReferenceStream) {
  SplitMix64 random(1234567);
  EXPECT_EQ(random.next(), 6457827717110365317U);
  EXPECT_EQ(random.next(), 3203168211198807973U);
  EXPECT_EQ(random.next(), 9817491932198370423U);
}

TEST(SplitMix64, UnitValuesAreInRange) {
  SplitMix64 random(0);
  double sum = 0;
  constexpr int kCount = 10000;
  for (int i = 0; i < kCount; ++i) {
    const float value = random.next_unit();
    ASSERT_GE(value, 0.0F);
    ASSERT_LT(value, 1.0F);
    sum += static_cast<double>(value);
  }
  // Five standard deviations of the mean of uniform values.
  EXPECT_NEAR(sum / kCount, 0.5, 5 * 0.2887 / 100);
}

}  // namespace
}  // namespace pocketlora
