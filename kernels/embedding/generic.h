#pragma once

#include "kernels/common/parallel.h"
#include "kernels/embedding/embedding.h"
#include "kernels/q4/decode.h"

namespace pocketlora {

/// One row of W for vectors V: a tile decodes row pairs, of which one row is kept.
template <class V>
void embedding_row(const Q4Matrix& w, int64_t row, float* out) {
  constexpr int kVectors = static_cast<int>(q4::kUnit) / V::kLanes;
  const typename V::Codebook codebook = V::codebook(q4_codebook(w.quant));
  const bool odd = row % 2 != 0;
  for (int64_t c = 0; c < w.col_tiles(); ++c) {
    const uint8_t* tile = w.tile(row / kTileRows, c);
    const q4::TileScales<V> scales(tile, w.groups_per_tile());
    const int64_t left = w.cols - c * kTileCols;
    const int64_t units = left < kTileCols ? gemm::ceil_div(left, q4::kUnit) : q4::kUnitsPerTile;
    q4::decode_pair<V>(tile, scales, w.groups_per_tile(), codebook, row % kTileRows / 2, units,
                       [&](int64_t unit, int64_t, const typename V::F* a, const typename V::F* b) {
                         const int64_t column = unit * q4::kUnit;
                         float* target = out + c * kTileCols + column;
                         float local[q4::kUnit];
                         const bool whole = left - column >= q4::kUnit;
                         for (int v = 0; v < kVectors; ++v) {
                           V::store((whole ? target : local) + v * V::kLanes, odd ? b[v] : a[v]);
                         }
                         for (int64_t j = 0; !whole && j < left - column; ++j) target[j] = local[j];
                       });
  }
}

template <class V>
void embedding_generic(const int64_t* tokens, int64_t n_tokens, const Q4Matrix& w, float* out) {
  parallel_for(0, n_tokens, 16, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) embedding_row<V>(w, tokens[i], out + i * w.cols);
  });
}

}  // namespace pocketlora
