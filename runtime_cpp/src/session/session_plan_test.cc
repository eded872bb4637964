#include "session/session_plan.h"

#include <gtest/gtest.h>

namespace pocketlora {
namespace {

/// 8 layers, 2 heads of 64: 8 KiB a token in fp32.
SessionNeeds needs_of(std::vector<int64_t> windows = std::vector<int64_t>(8, 0)) {
  SessionNeeds needs;
  needs.costs = {{32, 1000, 2000, 100}, {256, 8000, 16000, 800}};
  needs.num_threads = 2;
  needs.held = 5000;
  needs.largest.capacity = 4096;
  needs.largest.num_heads = 2;
  needs.largest.head_dim = 64;
  needs.largest.windows = std::move(windows);
  return needs;
}

SessionWishes limited(int64_t limit, std::optional<CacheFormat> format = std::nullopt, int64_t context = 0) {
  return {limit, context, format};
}

TEST(SessionPlan, WithoutALimitItIsTheBundlesContextInFp32) {
  const SessionPlan plan = plan_session(needs_of(), limited(0)).value();
  EXPECT_EQ(plan.cache.capacity, 4096);
  EXPECT_EQ(plan.cache.format, CacheFormat::kFloat32);
  EXPECT_EQ(plan.cache.largest_write, 256);
  EXPECT_GE(plan.bytes, 5000 + 8000 + 16000 + 2 * 800 + 4096 * 8192);
}

TEST(SessionPlan, FewerRowsThenANarrowerCacheThenAShorterContext) {
  const SessionNeeds needs = needs_of();
  const SessionPlan widest = plan_session(needs, limited(0)).value();
  EXPECT_EQ(plan_session(needs, limited(widest.bytes)).value().cache.largest_write, 256);
  const SessionPlan fewer = plan_session(needs, limited(widest.bytes - 1)).value();
  EXPECT_EQ(fewer.cache.largest_write, 32);
  EXPECT_EQ(fewer.cache.format, CacheFormat::kFloat32);
  const SessionPlan half = plan_session(needs, limited(fewer.bytes - 1)).value();
  EXPECT_EQ(half.cache.format, CacheFormat::kFloat16);
  EXPECT_EQ(half.cache.capacity, 4096);
  const SessionPlan shorter = plan_session(needs, limited(2 << 20)).value();
  EXPECT_EQ(shorter.cache.format, CacheFormat::kInt8);
  EXPECT_LT(shorter.cache.capacity, 4096);
  EXPECT_LE(shorter.bytes, 2 << 20);
  // One token more would not fit.
  SessionWishes exact = limited(2 << 20, CacheFormat::kInt8, shorter.cache.capacity + 1);
  EXPECT_EQ(plan_session(needs, exact).status().code(), PL_OUT_OF_MEMORY);
  exact.context_length = shorter.cache.capacity;
  EXPECT_TRUE(plan_session(needs, exact).ok());
}

TEST(SessionPlan, AFixedFormatStaysAndAFixedContextIsRefusedWithTheNumbers) {
  const SessionPlan fixed = plan_session(needs_of(), limited(8 << 20, CacheFormat::kFloat32)).value();
  EXPECT_EQ(fixed.cache.format, CacheFormat::kFloat32);
  EXPECT_LT(fixed.cache.capacity, 1024);
  const auto refused = plan_session(needs_of(), limited(8 << 20, CacheFormat::kFloat32, 4096));
  ASSERT_EQ(refused.status().code(), PL_OUT_OF_MEMORY);
  const std::string message = refused.status().message();
  for (const std::string& part : {std::string("8388608"), std::string("4096 tokens"),
                                  std::to_string(fixed.cache.capacity), std::string("narrower")}) {
    EXPECT_NE(message.find(part), std::string::npos) << message;
  }
  EXPECT_EQ(plan_session(needs_of(), limited(6000)).status().code(), PL_OUT_OF_MEMORY);
}

TEST(SessionPlan, AWindowCountsByWhatStaysResident) {
  const SessionPlan all = plan_session(needs_of(), limited(0)).value();
  const SessionPlan windows = plan_session(needs_of(std::vector<int64_t>(8, 256)), limited(0)).value();
  EXPECT_EQ(windows.cache.capacity, 4096);
  EXPECT_LT(windows.bytes, all.bytes / 4);
}

}  // namespace
}  // namespace pocketlora
