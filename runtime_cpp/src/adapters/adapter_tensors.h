#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <vector>

#include "adapters/adapter_layout.h"
#include "common/result.h"
#include "common/span.h"

namespace pocketlora {

/// A site's matrices, row-major fp32; rank 0 = the site is unused (the pointers are then valid but point to nothing of
/// use).
struct AdapterSite {
  int64_t rank = 0;
  float* a = nullptr;      ///< [rank, in_features]
  float* b = nullptr;      ///< [out_features, rank]
  float* scale = nullptr;  ///< [rank]; alpha / r, never folded into b
};

/// The same, read-only: what a stage's inputs are bound to.
struct AdapterSiteView {
  int64_t rank = 0;
  const float* a = nullptr;
  const float* b = nullptr;
  const float* scale = nullptr;
};

/// A and B of every site in one zeroed allocation. Each matrix starts at a multiple of 64 bytes; the gaps hold zeros,
/// so the optimizer and the gradient norm may treat parameters() as one flat vector. Also serves as the gradient
/// buffer.
class AdapterTensors {
 public:
  /// @param ranks one per site of the layout, 0 = unused. @return PL_OUT_OF_MEMORY when there is no room.
  static Result<AdapterTensors> allocate(const AdapterLayout& layout, const std::vector<int64_t>& ranks);

  /// One per site, in the layout's order.
  const std::vector<AdapterSite>& sites() const { return sites_; }
  /// All A and B, gaps included.
  Span<float> parameters() { return Span<float>(storage_.get(), num_parameters_); }
  Span<const float> parameters() const { return Span<const float>(storage_.get(), num_parameters_); }
  /// Bytes allocated.
  int64_t nbytes() const { return static_cast<int64_t>((num_parameters_ + num_scales_) * sizeof(float)); }
  /// Copies parameters and scales. Both must come from the same layout and ranks.
  void copy_from(const AdapterTensors& other);

 private:
  struct Free {
    void operator()(float* p) const { std::free(p); }
  };

  std::unique_ptr<float, Free> storage_;
  size_t num_parameters_ = 0;
  size_t num_scales_ = 0;
  std::vector<AdapterSite> sites_;
};

}  // namespace pocketlora
