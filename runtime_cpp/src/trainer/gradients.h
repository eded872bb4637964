#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "adapters/adapter.h"
#include "common/result.h"
#include "engine/memory_account.h"
#include "optim/optimizer.h"

namespace pocketlora {

/// The gradients of an adapter's matrices over the passes of a step, and room for one layer's of the running pass
/// before they are added.
class Gradients {
 public:
  /// Bytes of both, for a plan.
  static int64_t nbytes_of(const Adapter& adapter);
  static Result<Gradients> allocate(const Adapter& adapter, MemoryAccount* account);

  /// Where the backward of a pass writes: the first pass straight to its place, the others are added layer by layer.
  /// One per site of the layout.
  Span<const AdapterSite> target(bool first_pass) const {
    return first_pass ? Span<const AdapterSite>(total_.sites()) : Span<const AdapterSite>(layer_sites_);
  }
  /// Adds what a pass that is not the first has written for one layer.
  void add_layer(int64_t layer);

  /// Global L2 norm.
  double norm() const;
  /// torch.nn.utils.clip_grad_norm_. @param norm as norm() gives it; @param max_norm 0 = leave them.
  void clip(double norm, double max_norm);
  /// A and B of every used site with their gradients, for the optimizer.
  std::vector<ParameterGroup> with_parameters(const AdapterTensors& parameters) const;
  /// @param name PEFT key. @return INVALID_ARGUMENT for an unknown name or another number of elements.
  Status copy(const std::string& name, Span<float> out) const;

 private:
  Gradients(const Adapter& adapter, AdapterTensors total, ReservedBuffer layer, MemoryAccount* account);

  std::shared_ptr<const AdapterLayout> layout_;
  AdapterTensors total_;
  ReservedBuffer layer_;                  ///< untouched without accumulation
  std::vector<AdapterSite> layer_sites_;  ///< the sites of every layer, pointing into layer_
  std::vector<std::vector<size_t>> sites_of_layer_;
  MemoryCharge charge_;
};

}  // namespace pocketlora
