#pragma once

#include <array>
#include <cstdint>

#include "bundle/manifest.h"

namespace pocketlora {

/// Values of the dynamic dimensions in one call.
struct Extents {
  int64_t rows = 1;
  int64_t segments = 1;  ///< S; the dimension is S + 1
  int64_t cache = 0;
  int64_t cache_row_bytes = 0;
  int64_t rank = 0;  ///< of the site at hand

  Extents with_rank(int64_t value) const {
    Extents copy = *this;
    copy.rank = value;
    return copy;
  }
};

/// A shape with its dynamic dimensions filled in.
struct ConcreteShape {
  static constexpr size_t kMaxRank = 4;
  std::array<int32_t, kMaxRank> sizes{};
  size_t rank = 0;

  size_t numel() const {
    size_t count = 1;
    for (size_t i = 0; i < rank; ++i) count *= static_cast<size_t>(sizes[i]);
    return count;
  }
};

/// @param shape of at most ConcreteShape::kMaxRank dimensions (checked when a program is loaded).
ConcreteShape concrete_shape(const std::vector<Dim>& shape, const Extents& extents);

}  // namespace pocketlora
