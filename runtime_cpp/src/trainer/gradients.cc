#include "trainer/gradients.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "kernels/optim/optim.h"

namespace pocketlora {
namespace {

std::vector<std::vector<size_t>> group_by_layer(const AdapterLayout& layout) {
  std::vector<std::vector<size_t>> sites_of_layer;
  for (size_t s = 0; s < layout.sites.size(); ++s) {
    const auto layer = static_cast<size_t>(layout.sites[s].layer);
    if (layer >= sites_of_layer.size()) sites_of_layer.resize(layer + 1);
    sites_of_layer[layer].push_back(s);
  }
  return sites_of_layer;
}

int64_t site_elements(const Adapter& adapter, size_t site) {
  const AdapterSiteLayout& layout = adapter.layout().sites[site];
  return adapter.site(site).rank * (layout.in_features + layout.out_features);
}

/// Of the layer that has most.
int64_t layer_bytes(const Adapter& adapter) {
  int64_t largest = 0;  // of tensors that are allocated, so that it cannot wrap
  for (const auto& sites : group_by_layer(adapter.layout())) {
    int64_t total = 0;
    for (const size_t s : sites) total += site_elements(adapter, s);
    largest = std::max(largest, total);
  }
  return largest * static_cast<int64_t>(sizeof(float));
}

}  // namespace

int64_t Gradients::nbytes_of(const Adapter& adapter) {
  constexpr int64_t kPageRounding = 4096;
  return adapter.nbytes() + layer_bytes(adapter) + kPageRounding;
}

Result<Gradients> Gradients::allocate(const Adapter& adapter, MemoryAccount* account) {
  PL_ASSIGN_OR_RETURN(AdapterTensors total, AdapterTensors::allocate(adapter.layout(), adapter.config().site_ranks));
  const auto bytes = static_cast<size_t>(layer_bytes(adapter));
  PL_ASSIGN_OR_RETURN(ReservedBuffer layer, ReservedBuffer::reserve(bytes, account, MemoryPart::kGradients));
  return Gradients(adapter, std::move(total), std::move(layer), account);
}

Gradients::Gradients(const Adapter& adapter, AdapterTensors total, ReservedBuffer layer, MemoryAccount* account)
    : layout_(adapter.shared_layout()),
      total_(std::move(total)),
      layer_(std::move(layer)),
      layer_sites_(layout_->sites.size()),
      sites_of_layer_(group_by_layer(*layout_)),
      charge_(account, MemoryPart::kGradients, total_.nbytes()) {
  for (const auto& sites : sites_of_layer_) {
    float* next = layer_.as<float>();
    for (const size_t s : sites) {
      const int64_t rank = total_.sites()[s].rank;
      layer_sites_[s] = {rank, next, next + rank * layout_->sites[s].in_features, nullptr};
      next += site_elements(adapter, s);
    }
  }
}

void Gradients::add_layer(int64_t layer) {
  const auto add = [](float* to, const float* from, int64_t count) {
    for (int64_t i = 0; i < count; ++i) to[i] += from[i];
  };
  if (layer >= static_cast<int64_t>(sites_of_layer_.size())) return;  // the last layers may have no site
  for (const size_t s : sites_of_layer_[static_cast<size_t>(layer)]) {
    const AdapterSite& to = total_.sites()[s];
    add(to.a, layer_sites_[s].a, to.rank * layout_->sites[s].in_features);
    add(to.b, layer_sites_[s].b, to.rank * layout_->sites[s].out_features);
  }
}

double Gradients::norm() const {
  const Span<const float> values = total_.parameters();
  return std::sqrt(squared_norm(values.data(), static_cast<int64_t>(values.size())));
}

void Gradients::clip(double norm, double max_norm) {
  constexpr double kEpsilon = 1e-6;
  if (max_norm == 0.0) return;
  const double factor = max_norm / (norm + kEpsilon);
  if (factor >= 1.0) return;
  for (float& value : total_.parameters()) value *= static_cast<float>(factor);
}

std::vector<ParameterGroup> Gradients::with_parameters(const AdapterTensors& parameters) const {
  std::vector<ParameterGroup> groups;
  for (size_t s = 0; s < layout_->sites.size(); ++s) {
    const AdapterSite& site = parameters.sites()[s];
    const AdapterSite& gradient = total_.sites()[s];
    if (site.rank == 0) continue;
    const auto a = static_cast<size_t>(site.rank * layout_->sites[s].in_features);
    const auto b = static_cast<size_t>(site.rank * layout_->sites[s].out_features);
    groups.push_back({Span<float>(site.a, a), Span<const float>(gradient.a, a)});
    groups.push_back({Span<float>(site.b, b), Span<const float>(gradient.b, b)});
  }
  return groups;
}

Status Gradients::copy(const std::string& name, Span<float> out) const {
  for (size_t s = 0; s < layout_->sites.size(); ++s) {
    const AdapterSite& site = total_.sites()[s];
    for (const char matrix : {'A', 'B'}) {
      if (site.rank == 0 || name != peft_tensor_name(layout_->sites[s].name, matrix)) continue;
      const int64_t features = matrix == 'A' ? layout_->sites[s].in_features : layout_->sites[s].out_features;
      const auto count = static_cast<size_t>(site.rank * features);
      if (out.size() != count) {
        return error(PL_INVALID_ARGUMENT, "gradient '%s' has %zu elements, the buffer has %zu", name.c_str(), count,
                     out.size());
      }
      std::copy_n(matrix == 'A' ? site.a : site.b, count, out.data());
      return Status();
    }
  }
  return error(PL_INVALID_ARGUMENT, "the adapter has no tensor '%s'", name.c_str());
}

}  // namespace pocketlora
