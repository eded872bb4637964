#include "engine/extents.h"

namespace pocketlora {
namespace {

int64_t dim_size(const Dim& dim, const Extents& extents) {
  switch (dim.kind) {
    case Dim::Kind::kFixed:
      return dim.size;
    case Dim::Kind::kRows:
      return extents.rows;
    case Dim::Kind::kSegments:
      return extents.segments + 1;
    case Dim::Kind::kCache:
      return extents.cache;
    case Dim::Kind::kCacheRow:
      return extents.cache_row_bytes;
    case Dim::Kind::kRank:
      return extents.rank;
  }
  return 0;
}

}  // namespace

ConcreteShape concrete_shape(const std::vector<Dim>& shape, const Extents& extents) {
  ConcreteShape out;
  out.rank = shape.size();
  for (size_t i = 0; i < shape.size(); ++i) out.sizes[i] = static_cast<int32_t>(dim_size(shape[i], extents));
  return out;
}

}  // namespace pocketlora
