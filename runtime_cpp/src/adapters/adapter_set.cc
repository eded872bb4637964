#include "adapters/adapter_set.h"

#include <cmath>

namespace pocketlora {
namespace {

// What an unused site's inputs point to: a tensor without elements still wants an address.
const float kNothing[16] = {};

bool same_sites(const AdapterLayout& a, const AdapterLayout& b) {
  if (&a == &b) return true;
  if (a.base_sha256 != b.base_sha256 || a.sites.size() != b.sites.size()) return false;
  for (size_t i = 0; i < a.sites.size(); ++i) {
    if (a.sites[i].name != b.sites[i].name || a.sites[i].in_features != b.sites[i].in_features ||
        a.sites[i].out_features != b.sites[i].out_features) {
      return false;
    }
  }
  return true;
}

Status check_adapters(const AdapterLayout& layout, const std::vector<WeightedAdapter>& adapters) {
  for (size_t i = 0; i < adapters.size(); ++i) {
    if (adapters[i].adapter == nullptr) return error(PL_INVALID_ARGUMENT, "adapter %zu of the set is missing", i);
    if (!std::isfinite(adapters[i].weight)) {
      return error(PL_INVALID_ARGUMENT, "adapter %zu of the set: expected a finite weight, found %f", i,
                   static_cast<double>(adapters[i].weight));
    }
    if (!same_sites(layout, adapters[i].adapter->layout())) {
      return error(PL_ADAPTER_OTHER_BASE,
                   "adapter %zu of the set belongs to another bundle: expected base %s, found %s", i,
                   layout.base_sha256.c_str(), adapters[i].adapter->layout().base_sha256.c_str());
    }
  }
  return Status();
}

// A scale that overflows would make the logits inf or NaN without a word of why.
Status check_scales(const AdapterLayout& layout, const std::vector<WeightedAdapter>& adapters) {
  for (size_t i = 0; i < adapters.size(); ++i) {
    for (size_t s = 0; s < layout.sites.size(); ++s) {
      const AdapterSiteView view = adapters[i].adapter->site(s);
      if (view.rank == 0 || std::isfinite(view.scale[0] * adapters[i].weight)) continue;
      return error(PL_INVALID_ARGUMENT, "adapter %zu of the set: the weight %g times the scale %g at %s is not finite",
                   i, static_cast<double>(adapters[i].weight), static_cast<double>(view.scale[0]),
                   layout.sites[s].name.c_str());
    }
  }
  return Status();
}

struct WeightedView {
  AdapterSiteView view;
  float weight;
};

std::vector<float> concatenate_scales(const std::vector<WeightedView>& parts) {
  std::vector<float> scales;
  for (const WeightedView& part : parts) {
    for (int64_t r = 0; r < part.view.rank; ++r) scales.push_back(part.view.scale[r] * part.weight);
  }
  return scales;
}

std::vector<float> concatenate_a(const std::vector<WeightedView>& parts, int64_t in_features) {
  std::vector<float> a;
  for (const WeightedView& part : parts) a.insert(a.end(), part.view.a, part.view.a + part.view.rank * in_features);
  return a;
}

// Rows of the B matrices side by side.
std::vector<float> concatenate_b(const std::vector<WeightedView>& parts, int64_t out_features) {
  std::vector<float> b;
  for (int64_t row = 0; row < out_features; ++row) {
    for (const WeightedView& part : parts) {
      const float* begin = part.view.b + row * part.view.rank;
      b.insert(b.end(), begin, begin + part.view.rank);
    }
  }
  return b;
}

}  // namespace

const float* AdapterSet::own(std::vector<float> values) {
  owned_.push_back(std::move(values));
  return owned_.back().data();
}

Result<AdapterSet> AdapterSet::combine(const std::shared_ptr<const AdapterLayout>& layout,
                                       std::vector<WeightedAdapter> adapters) {
  PL_RETURN_IF_ERROR(check_adapters(*layout, adapters));
  PL_RETURN_IF_ERROR(check_scales(*layout, adapters));
  AdapterSet set;
  for (size_t i = 0; i < layout->sites.size(); ++i) {
    const AdapterSiteLayout& site = layout->sites[i];
    std::vector<WeightedView> parts;
    int64_t rank = 0;
    for (const WeightedAdapter& one : adapters) {
      const AdapterSiteView view = one.adapter->site(i);
      if (view.rank > 0) parts.push_back({view, one.weight});
      rank += view.rank;
    }
    if (rank > layout->max_rank) {
      return error(PL_RANK_TOO_LARGE, "%s: the ranks of the adapters add up to %lld, expected at most %lld",
                   site.name.c_str(), static_cast<long long>(rank), static_cast<long long>(layout->max_rank));
    }
    AdapterSiteView bound = {0, kNothing, kNothing, kNothing};
    if (parts.size() == 1) bound = parts[0].view;
    if (parts.size() == 1 && parts[0].weight != 1.0F) bound.scale = set.own(concatenate_scales(parts));
    if (parts.size() > 1) {
      bound = {rank, set.own(concatenate_a(parts, site.in_features)), set.own(concatenate_b(parts, site.out_features)),
               set.own(concatenate_scales(parts))};
    }
    set.sites_.push_back(bound);
  }
  set.adapters_ = std::move(adapters);
  return set;
}

int64_t AdapterSet::nbytes() const {
  size_t count = 0;
  for (const std::vector<float>& values : owned_) count += values.size();
  return static_cast<int64_t>(count * sizeof(float));
}

}  // namespace pocketlora
