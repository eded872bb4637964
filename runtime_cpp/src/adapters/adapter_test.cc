#include "adapters/adapter.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "adapters/adapter_test_support.h"
#include "common/splitmix64.h"
#include "common/test_support.h"

namespace pocketlora {
namespace {

TEST(AdapterTensors, AlignsEveryMatrixAndZeroesTheGaps) {
  const auto layout = small_layout();
  Result<AdapterTensors> tensors = AdapterTensors::allocate(*layout, {3, 0, 8, 1});
  ASSERT_TRUE(tensors.ok());
  size_t used = 0;
  for (size_t i = 0; i < 4; ++i) {
    const AdapterSite& site = tensors.value().sites()[i];
    EXPECT_EQ(reinterpret_cast<uintptr_t>(site.a) % 64, 0U);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(site.b) % 64, 0U);
    const auto& facts = layout->sites[i];
    used += static_cast<size_t>(site.rank * (facts.in_features + facts.out_features));
    std::fill_n(site.a, site.rank * facts.in_features, 1.0F);
    std::fill_n(site.b, site.rank * facts.out_features, 1.0F);
  }
  const Span<float> flat = tensors.value().parameters();
  EXPECT_EQ(static_cast<size_t>(std::count(flat.begin(), flat.end(), 1.0F)), used);
  EXPECT_EQ(static_cast<size_t>(std::count(flat.begin(), flat.end(), 0.0F)), flat.size() - used);
}

TEST(AdapterTensors, ReportsWhatDoesNotFit) {
  AdapterLayout layout = *small_layout();
  layout.sites[0].in_features = INT64_MAX / 4;
  EXPECT_TRUE(fails_with(AdapterTensors::allocate(layout, {8, 0, 0, 0}).status(), PL_OUT_OF_MEMORY));
}

TEST(Adapter, StartsLikePeft) {
  const auto layout = small_layout();
  const Adapter::Pointer adapter = Adapter::create(layout, 4, 8, {"q_proj"}, 7).value();
  const AdapterSiteView site = adapter->site(0);
  EXPECT_EQ(site.rank, 4);
  EXPECT_EQ(adapter->site(1).rank, 0);
  SplitMix64 random(7);
  const float bound = 1 / std::sqrt(6.0F);
  for (int i = 0; i < 4 * 6; ++i) EXPECT_EQ(site.a[i], (2 * random.next_unit() - 1) * bound);
  for (int i = 0; i < 4 * 4; ++i) EXPECT_EQ(site.b[i], 0.0F);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(site.scale[i], 2.0F);
}

TEST(Adapter, SeedDecidesTheStart) {
  const auto layout = small_layout();
  const Adapter::Pointer a = Adapter::create(layout, 2, 2, {}, 1).value();
  const Adapter::Pointer b = Adapter::create(layout, 2, 2, {}, 1).value();
  const Adapter::Pointer c = Adapter::create(layout, 2, 2, {}, 2).value();
  EXPECT_TRUE(std::equal(a->site(3).a, a->site(3).a + 20, b->site(3).a));
  EXPECT_FALSE(std::equal(a->site(3).a, a->site(3).a + 20, c->site(3).a));
}

TEST(Adapter, CloneIsIndependent) {
  const Adapter::Pointer adapter = Adapter::create(small_layout(), 2, 2, {}, 1).value();
  AdapterTensors copy = adapter->clone_tensors().value();
  const float before = adapter->site(0).a[0];
  EXPECT_EQ(copy.sites()[0].a[0], before);
  copy.sites()[0].a[0] = before + 1;
  EXPECT_EQ(adapter->site(0).a[0], before);
  const Adapter::Pointer changed = Adapter::from_tensors(adapter->shared_layout(), adapter->config(), std::move(copy));
  EXPECT_EQ(changed->site(0).a[0], before + 1);
  EXPECT_EQ(changed->site(0).scale[1], 1.0F);
  EXPECT_EQ(changed->nbytes(), adapter->nbytes());
}

}  // namespace
}  // namespace pocketlora
