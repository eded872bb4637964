#include "adapters/adapter.h"

#include <algorithm>
#include <atomic>
#include <cmath>

#include "common/splitmix64.h"

namespace pocketlora {
namespace {

uint64_t next_id() {
  static std::atomic<uint64_t> last{0};
  return ++last;
}

}  // namespace

Adapter::Adapter(std::shared_ptr<const AdapterLayout> layout, AdapterConfig config, AdapterTensors tensors)
    : id_(next_id()), layout_(std::move(layout)), config_(std::move(config)), tensors_(std::move(tensors)) {
  for (size_t i = 0; i < tensors_.sites().size(); ++i) {
    const AdapterSite& site = tensors_.sites()[i];
    std::fill_n(site.scale, site.rank, config_.site_scale(i));
  }
}

std::shared_ptr<Adapter> Adapter::from_tensors(std::shared_ptr<const AdapterLayout> layout, AdapterConfig config,
                                               AdapterTensors tensors) {
  return std::shared_ptr<Adapter>(new Adapter(std::move(layout), std::move(config), std::move(tensors)));
}

Result<std::shared_ptr<Adapter>> Adapter::create(std::shared_ptr<const AdapterLayout> layout, int64_t rank,
                                                 double alpha, const std::vector<std::string>& target_modules,
                                                 uint64_t seed) {
  PL_ASSIGN_OR_RETURN(AdapterConfig config, make_adapter_config(*layout, rank, alpha, target_modules));
  PL_ASSIGN_OR_RETURN(AdapterTensors tensors, AdapterTensors::allocate(*layout, config.site_ranks));
  SplitMix64 random(seed);
  for (size_t i = 0; i < layout->sites.size(); ++i) {
    const int64_t in_features = layout->sites[i].in_features;
    const float bound = 1.0F / std::sqrt(static_cast<float>(in_features));
    const AdapterSite& site = tensors.sites()[i];
    for (int64_t e = 0; e < site.rank * in_features; ++e) site.a[e] = (2.0F * random.next_unit() - 1.0F) * bound;
  }
  return from_tensors(std::move(layout), std::move(config), std::move(tensors));
}

Result<AdapterTensors> Adapter::clone_tensors() const {
  PL_ASSIGN_OR_RETURN(AdapterTensors copy, AdapterTensors::allocate(*layout_, config_.site_ranks));
  copy.copy_from(tensors_);
  return copy;
}

AdapterSiteView Adapter::site(size_t index) const {
  const AdapterSite& site = tensors_.sites()[index];
  return {site.rank, site.a, site.b, site.scale};
}

}  // namespace pocketlora
