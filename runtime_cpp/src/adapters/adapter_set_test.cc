#include "adapters/adapter_set.h"

#include <algorithm>
#include <cmath>

#include "adapters/adapter_test_support.h"
#include "common/test_support.h"

namespace pocketlora {
namespace {

// An adapter whose B is not zero.
Adapter::Pointer filled(const std::shared_ptr<const AdapterLayout>& layout, int64_t rank,
                        const std::vector<std::string>& targets, uint64_t seed) {
  const Adapter::Pointer fresh = Adapter::create(layout, rank, 3, targets, seed).value();
  AdapterTensors tensors = fresh->clone_tensors().value();
  float value = static_cast<float>(seed);
  for (size_t i = 0; i < layout->sites.size(); ++i) {
    const AdapterSite& site = tensors.sites()[i];
    std::generate_n(site.b, site.rank * layout->sites[i].out_features, [&value] { return value += 0.5F; });
  }
  return Adapter::from_tensors(layout, fresh->config(), std::move(tensors));
}

// B · diag(scale) · A, [out, in], in double.
std::vector<double> product(const AdapterSiteView& site, const AdapterSiteLayout& facts) {
  std::vector<double> result(static_cast<size_t>(facts.out_features * facts.in_features));
  for (int64_t o = 0; o < facts.out_features; ++o) {
    for (int64_t i = 0; i < facts.in_features; ++i) {
      for (int64_t r = 0; r < site.rank; ++r) {
        result[static_cast<size_t>(o * facts.in_features + i)] +=
            static_cast<double>(site.b[o * site.rank + r]) * static_cast<double>(site.scale[r]) *
            static_cast<double>(site.a[r * facts.in_features + i]);
      }
    }
  }
  return result;
}

TEST(AdapterSet, EmptySetHasNoEffect) {
  const auto layout = small_layout();
  const AdapterSet set = AdapterSet::combine(layout, {}).value();
  ASSERT_EQ(set.sites().size(), 4U);
  for (const AdapterSiteView& site : set.sites()) {
    EXPECT_EQ(site.rank, 0);
    EXPECT_TRUE(site.a != nullptr && site.b != nullptr && site.scale != nullptr);
  }
  EXPECT_EQ(set.nbytes(), 0);
}

TEST(AdapterSet, OneAdapterIsUsedInPlace) {
  const auto layout = small_layout();
  const Adapter::Pointer adapter = filled(layout, 4, {"q_proj"}, 1);
  const AdapterSet set = AdapterSet::combine(layout, {{adapter, 1.0F}}).value();
  EXPECT_EQ(set.sites()[0].a, adapter->site(0).a);
  EXPECT_EQ(set.sites()[0].b, adapter->site(0).b);
  EXPECT_EQ(set.sites()[0].scale, adapter->site(0).scale);
  EXPECT_EQ(set.sites()[1].rank, 0);
  EXPECT_EQ(set.nbytes(), 0);
}

TEST(AdapterSet, WeightScalesWithoutCopyingTheMatrices) {
  const auto layout = small_layout();
  const Adapter::Pointer adapter = filled(layout, 4, {}, 1);
  const AdapterSet set = AdapterSet::combine(layout, {{adapter, -0.5F}}).value();
  EXPECT_EQ(set.sites()[2].b, adapter->site(2).b);
  EXPECT_EQ(set.sites()[2].scale[3], adapter->site(2).scale[3] * -0.5F);
}

TEST(AdapterSet, SumsAdaptersOfDifferentRanksAndModules) {
  const auto layout = small_layout();
  const Adapter::Pointer one = filled(layout, 3, {}, 1);
  const Adapter::Pointer two = filled(layout, 5, {"down_proj"}, 2);
  const AdapterSet set = AdapterSet::combine(layout, {{one, 0.5F}, {two, 2.0F}}).value();
  const AdapterSet moved = AdapterSet::combine(layout, {}).value();
  EXPECT_EQ(moved.nbytes(), 0);
  for (size_t i = 0; i < layout->sites.size(); ++i) {
    const std::vector<double> found = product(set.sites()[i], layout->sites[i]);
    const std::vector<double> a = product(one->site(i), layout->sites[i]);
    const std::vector<double> b = product(two->site(i), layout->sites[i]);
    EXPECT_EQ(set.sites()[i].rank, one->site(i).rank + two->site(i).rank);
    for (size_t e = 0; e < found.size(); ++e) {
      const double expected = 0.5 * a[e] + 2.0 * b[e];
      // Only scale x weight is rounded, by powers of two: the sums agree up to the order of a few double additions.
      EXPECT_NEAR(found[e], expected, 1e-12 * (1 + std::fabs(expected)));
    }
  }
}

TEST(AdapterSet, StaysValidWhenMovedAndWhenHandlesAreDropped) {
  const auto layout = small_layout();
  AdapterSet set;
  {
    const Adapter::Pointer one = filled(layout, 2, {}, 1);
    const Adapter::Pointer two = filled(layout, 2, {}, 2);
    set = AdapterSet::combine(layout, {{one, 1.0F}, {two, 0.25F}}).value();
  }
  const Adapter::Pointer again = filled(layout, 2, {}, 2);
  EXPECT_EQ(set.sites()[3].scale[2], again->site(3).scale[0] * 0.25F);
  EXPECT_EQ(set.sites()[3].a[2 * 10], again->site(3).a[0]);
  EXPECT_GT(set.nbytes(), 0);
}

TEST(AdapterSet, RefusesWhatCannotBeBound) {
  const auto layout = small_layout();
  const Adapter::Pointer five = filled(layout, 5, {}, 1);
  EXPECT_TRUE(fails_with(AdapterSet::combine(layout, {{five, 1.0F}, {five, 1.0F}}).status(), PL_RANK_TOO_LARGE,
                         {"add up to 10", "at most 8"}));
  EXPECT_TRUE(fails_with(AdapterSet::combine(layout, {{five, NAN}}).status(), PL_INVALID_ARGUMENT, {"weight"}));
  const Adapter::Pointer doubled = Adapter::create(layout, 1, 2, {}, 1).value();  // its scale is 2
  EXPECT_TRUE(fails_with(AdapterSet::combine(layout, {{five, 1.0F}, {doubled, 3e38F}}).status(), PL_INVALID_ARGUMENT,
                         {"adapter 1", "weight", "scale 2", "layers.0.self_attn.q_proj"}));
  EXPECT_TRUE(AdapterSet::combine(layout, {{doubled, 1e38F}}).ok());
  EXPECT_TRUE(fails_with(AdapterSet::combine(layout, {{nullptr, 1.0F}}).status(), PL_INVALID_ARGUMENT));
  auto other = std::make_shared<AdapterLayout>(*layout);
  other->base_sha256 = std::string(64, 'c');
  EXPECT_TRUE(fails_with(AdapterSet::combine(other, {{five, 1.0F}}).status(), PL_ADAPTER_OTHER_BASE, {"cccc", "aaaa"}));
}

TEST(AdapterSet, AcceptsAnAdapterOfAnotherEngineOverTheSameBase) {
  EXPECT_TRUE(AdapterSet::combine(small_layout(), {{filled(small_layout(), 2, {}, 1), 1.0F}}).ok());
}

}  // namespace
}  // namespace pocketlora
