#pragma once

#include <cstdint>

#include "kernels/q4/gemm.h"
#include "kernels/q4/q4.h"

/// From tiles to floats, for vectors V (common/simd_*.h).
namespace pocketlora::q4 {

constexpr int64_t kUnit = 16;  // columns decoded at once
constexpr int64_t kUnitsPerTile = kTileCols / kUnit;

/// The scales of one tile as floats: scale(column unit, row).
template <class V>
struct TileScales {
  float values[4][kTileRows];

  TileScales() = default;
  TileScales(const uint8_t* tile, int64_t groups) { read(tile, groups); }
  void read(const uint8_t* tile, int64_t groups) {
    for (int64_t g = 0; g < groups; ++g) V::load_halves(tile + kCodeBytes + 2 * kTileRows * g, values[g]);
  }
};

/// Calls `use(unit, row, a, b)` for `units` units of 16 columns of one row pair of a tile: a and b are the vectors of
/// rows `row` and `row + 1`. `groups` = 128 / group size.
template <class V, class Use>
inline void decode_pair(const uint8_t* tile, const TileScales<V>& scales, int64_t groups,
                        const typename V::Codebook& codebook, int64_t pair, int64_t units, Use&& use) {
  constexpr int kVectors = static_cast<int>(kUnit) / V::kLanes;
  // Two units are 32 columns, the smallest group: one table serves both.
  for (int64_t unit = 0; unit < units; unit += 2) {
    const float* scale = scales.values[unit * groups / kUnitsPerTile];
    const typename V::Table even = V::scaled(codebook, scale[2 * pair]);
    const typename V::Table odd = V::scaled(codebook, scale[2 * pair + 1]);
    const uint8_t* codes = tile + (unit / 4 * 8 + pair) * kLineBytes + unit % 4 * kUnit;
    typename V::F a[kVectors], b[kVectors];
    V::decode(codes, even, odd, a, b);
    use(unit, 2 * pair, a, b);
    if (unit + 1 < units) {
      V::decode(codes + kUnit, even, odd, a, b);
      use(unit + 1, 2 * pair, a, b);
    }
  }
}

/// Dequantizes row tiles [row_tile, row_tile + row_tiles) x column tiles [col_tile, col_tile + col_tiles) to
/// out[unit][16 * row_tiles][16]: row blocks for the forward product, panels of columns for the backward product.
/// Only the units that hold real columns are written.
template <class V>
void dequantize_block(const Q4Matrix& w, int64_t row_tile, int64_t row_tiles, int64_t col_tile, int64_t col_tiles,
                      float* out) {
  constexpr int kVectors = static_cast<int>(kUnit) / V::kLanes;
  const typename V::Codebook codebook = V::codebook(q4_codebook(w.quant));
  const int64_t rows = row_tiles * kTileRows;
  const int64_t groups = w.groups_per_tile();
  for (int64_t t = 0; t < row_tiles; ++t) {
    for (int64_t c = 0; c < col_tiles; ++c) {
      const uint8_t* tile = w.tile(row_tile + t, col_tile + c);
      const TileScales<V> scales(tile, groups);
      const int64_t left = gemm::ceil_div(w.cols - (col_tile + c) * kTileCols, kUnit);
      const int64_t units = left < kUnitsPerTile ? left : kUnitsPerTile;
      float* target = out + c * kUnitsPerTile * rows * kUnit + t * kTileRows * kUnit;
      for (int64_t pair = 0; pair < kTileRows / 2; ++pair) {
        decode_pair<V>(tile, scales, groups, codebook, pair, units,
                       [&](int64_t unit, int64_t row, const typename V::F* a, const typename V::F* b) {
                         float* to = target + (unit * rows + row) * kUnit;
                         for (int v = 0; v < kVectors; ++v) {
                           V::store(to + v * V::kLanes, a[v]);
                           V::store(to + kUnit + v * V::kLanes, b[v]);
                         }
                       });
      }
    }
  }
}

}  // namespace pocketlora::q4
