#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "adapters/adapter.h"

namespace pocketlora {

/// One adapter and its weight in a combination.
struct WeightedAdapter {
  Adapter::Pointer adapter;
  float weight = 1.0F;
};

/// What the sites of all layers are bound to: no adapter, one, or several concatenated along R (scale times weight).
/// Keeps its adapters alive. A site that only one adapter uses points into that adapter (with weight 1: nothing is
/// copied at all); only a site that several use gets a concatenated copy.
class AdapterSet {
 public:
  AdapterSet() = default;
  AdapterSet(AdapterSet&&) = default;
  AdapterSet& operator=(AdapterSet&&) = default;
  AdapterSet(const AdapterSet&) = delete;  // sites() points into owned_
  AdapterSet& operator=(const AdapterSet&) = delete;

  /// @return PL_RANK_TOO_LARGE when ranks add up to more than the bundle's maximum, PL_INVALID_ARGUMENT for a weight
  /// that is not finite or makes a scale so, PL_ADAPTER_OTHER_BASE for an adapter of another layout.
  static Result<AdapterSet> combine(const std::shared_ptr<const AdapterLayout>& layout,
                                    std::vector<WeightedAdapter> adapters);

  /// One per site of the layout; pointers are never null, rank 0 where no adapter acts.
  const std::vector<AdapterSiteView>& sites() const { return sites_; }
  const std::vector<WeightedAdapter>& adapters() const { return adapters_; }
  /// Bytes of the concatenated copies (the adapters count for themselves).
  int64_t nbytes() const;

 private:
  const float* own(std::vector<float> values);

  std::vector<WeightedAdapter> adapters_;
  std::vector<AdapterSiteView> sites_;
  std::vector<std::vector<float>> owned_;
};

}  // namespace pocketlora
