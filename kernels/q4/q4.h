#pragma once

#include <cstdint>

namespace pocketlora {

/// Quantization schemes; the values are those of docs/layout.md.
enum class Quant : int { kNf4 = 0, kInt4 = 1 };

constexpr int64_t kTileRows = 16;
constexpr int64_t kTileCols = 128;
constexpr int64_t kLineBytes = 64;
constexpr int64_t kCodeBytes = kTileRows * kTileCols / 2;

/// A 4-bit matrix W [rows, cols] in the layout of docs/layout.md. It points into memory that it does not own.
struct Q4Matrix {
  const uint8_t* tiles;  ///< uint8 [row_tiles, col_tiles, tile_bytes]; any alignment, 64 bytes is best
  int64_t rows;          ///< out_features, > 0
  int64_t cols;          ///< in_features, > 0
  Quant quant;
  int group;  ///< 32, 64 or 128

  int64_t row_tiles() const { return (rows + kTileRows - 1) / kTileRows; }
  int64_t col_tiles() const { return (cols + kTileCols - 1) / kTileCols; }
  int64_t groups_per_tile() const { return kTileCols / group; }
  int64_t tile_bytes() const { return kCodeBytes + (2 * kTileRows * groups_per_tile() + 63) / 64 * 64; }
  int64_t panel_bytes() const { return col_tiles() * tile_bytes(); }
  int64_t bytes() const { return row_tiles() * panel_bytes(); }
  const uint8_t* tile(int64_t row_tile, int64_t col_tile) const {
    return tiles + row_tile * panel_bytes() + col_tile * tile_bytes();
  }
  /// @return rows [first, first + count) as a matrix of their own; `first` is a multiple of 16.
  Q4Matrix row_range(int64_t first, int64_t count) const {
    return {tiles + first / kTileRows * panel_bytes(), count, cols, quant, group};
  }
};

/// @return whether the scheme allows groups of that size (docs/layout.md).
bool q4_group_supported(Quant quant, int group);

/// @return the 16 values of a scheme.
const float* q4_codebook(Quant quant);

/// Dequantizes one row: out[k] = codebook[code[row, k]] * float(scale[row, k / group]), k < cols.
void q4_dequantize_row(const Q4Matrix& w, int64_t row, float* out);

}  // namespace pocketlora
