#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "kernels/common/parallel.h"
#include "kernels/common/scratch.h"
#include "kernels/q4/decode.h"
#include "kernels/q4/fixed_gemm.h"
#include "kernels/q4/q4.h"

/// The operands of fixed_gemm.h, for T = FixedAvx2::Many and its kin (common/fixed_*.h): rows of activations and 4-bit
/// weights as 16-bit integers.
///
/// The sum of a chunk is exact: the integers of W are at most `largest`, and those of a chunk of a row have a sum of
/// magnitudes of at most 2^31 / largest (RowLimits). Bounding the sum and not each value leaves a row of normally
/// distributed values nearly four times finer steps than the worst case would.
namespace pocketlora::q4 {

/// Forward, W's integers are those of its codebook, its scales those of its groups. The unit of nf4 is the one of at
/// most 8191 that its 16 values suit best: they are off by 3.6e-5 of their norm, by 6.6e-5 with 8191. int4's are exact.
constexpr float kNf4Units = 7854.0f;
/// Backward, the depth crosses W's groups: a chunk of a column gets a scale of its own. At 10000 W and the activations
/// add about the same error.
constexpr float kColumnLimit = 10000.0f;
/// Rows of W in a chunk of the backward product.
constexpr int64_t kRowChunk = 64;
constexpr int64_t kMostChunk = kTileCols;

/// What the integers of a chunk of a row of activations may be.
struct RowLimits {
  float sum;  ///< of the magnitudes before they are rounded

  /// @param largest the largest integer of W.
  RowLimits(float largest, int64_t chunk)
      // Rounding adds half a unit a value; 2^-12 covers the rounding of the sum and of the scale in fp32.
      : sum(2147483647.0f / largest * (1.0f - 0x1p-12f) - 0.5f * static_cast<float>(chunk)) {}
};

/// Rounds `count` values to integers, with zeros up to `padded`, a multiple of 16 of at most kMostChunk. @return the
/// scale, not finite when a value is not.
template <class T>
float round_chunk(const float* x, int64_t count, int64_t padded, const RowLimits& limits, int16_t* out) {
  using F = typename T::F;
  // Smaller steps would overflow as 1 / unit; such a chunk adds nothing that fp32 could hold beside the others.
  constexpr float kSmallest = 1e-33f;
  float rest[kMostChunk];
  if (count < padded) {
    std::fill(std::copy(x, x + count, rest), rest + padded, 0.0f);
    x = rest;
  }
  // Their mean, as it were: the sum of the largest floats stays finite. It is a NaN where a value is.
  F sum = T::zero(), most = T::zero();
  for (int64_t k = 0; k < padded; k += T::kLanes) {
    const F v = T::load(x + k), magnitude = T::max(v, T::sub(T::zero(), v));
    sum = T::fma(magnitude, T::set1(1.0f / kMostChunk), sum);
    most = T::max(magnitude, most);
  }
  float unit = T::sum(sum) / (limits.sum / kMostChunk);
  const float by_largest = T::maximum(most) / 32767.0f;
  if (by_largest > unit) unit = by_largest;
  const bool vanishes = unit < kSmallest;
  const F inverse = T::set1(vanishes ? 0.0f : 1.0f / unit);
  for (int64_t k = 0; k < padded; k += 16) T::round16(x + k, inverse, out + k);
  return vanishes ? 0.0f : unit;
}

/// x^T as panels of 16 rows of x, with a scale for each row and chunk.
struct FixedPanels {
  const int16_t* values;  ///< [ceil(n_rows / 16)][depth() / 2][16 rows][2]
  const float* scales;    ///< [ceil(n_rows / 16)][chunks()][16]
  int64_t n_rows, cols, chunk;

  int64_t depth() const { return gemm::round_up(cols, 16); }
  int64_t chunks() const { return gemm::ceil_div(cols, chunk); }
  int64_t panels() const { return gemm::ceil_div(n_rows, fixed_gemm::kPanel); }
  /// All panels from column `first` on, a multiple of the chunk.
  fixed_gemm::Panels from(int64_t first) const {
    return {values + first * fixed_gemm::kPanel, depth() * fixed_gemm::kPanel,
            scales + first / chunk * fixed_gemm::kPanel, chunks() * fixed_gemm::kPanel};
  }
};

/// One chunk of `count` <= 16 rows of x: out[pair of columns][16][2]; rows from `count` on become 0.
template <class T>
void pack_chunk(const float* x, int64_t row_step, int64_t count, int64_t cols, int64_t padded, const RowLimits& limits,
                int16_t* out, float* scales) {
  alignas(64) int16_t rows[fixed_gemm::kPanel][kMostChunk];
  for (int64_t i = 0; i < fixed_gemm::kPanel; ++i) {
    if (i < count) {
      scales[i] = round_chunk<T>(x + i * row_step, cols, padded, limits, rows[i]);
    } else {
      std::fill(rows[i], rows[i] + padded, int16_t{0});
      scales[i] = 0.0f;
    }
  }
  for (int64_t k = 0; k < padded; k += 16) T::transpose_pairs(&rows[0][k], kMostChunk, out + k * fixed_gemm::kPanel);
}

/// Packs x [n_rows, cols] into `frame`. @param largest the largest integer that they are multiplied by.
template <class T>
FixedPanels pack_fixed_panels(const float* x, int64_t n_rows, int64_t cols, int64_t chunk, float largest,
                              ScratchFrame& frame) {
  FixedPanels packed{nullptr, nullptr, n_rows, cols, chunk};
  const RowLimits limits(largest, chunk);
  auto* values = static_cast<int16_t*>(
      frame.bytes(static_cast<size_t>(packed.panels() * packed.depth() * fixed_gemm::kPanel) * sizeof(int16_t)));
  float* scales = frame.floats(packed.panels() * packed.chunks() * fixed_gemm::kPanel);
  packed.values = values;
  packed.scales = scales;
  parallel_for(0, packed.panels(), 1, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      const int64_t i = p * fixed_gemm::kPanel;
      for (int64_t k = 0; k < cols; k += chunk) {
        const int64_t real = std::min(chunk, cols - k);
        pack_chunk<T>(x + i * cols + k, cols, std::min(n_rows - i, fixed_gemm::kPanel), real, gemm::round_up(real, 16),
                      limits, values + (p * packed.depth() + k) * fixed_gemm::kPanel,
                      scales + (p * packed.chunks() + k / chunk) * fixed_gemm::kPanel);
      }
    }
  });
  return packed;
}

/// x as row blocks, a tile of rows after the other, with a scale for each row and chunk.
struct FixedRowBlocks {
  const int16_t* values;  ///< [ceil(n_rows / tile_rows)][depth / 16][tile_rows][16]
  const float* scales;    ///< [chunk][n_rows]
  int64_t n_rows, depth, chunk, tile_rows;

  /// All rows from column `first` on, a multiple of the chunk.
  fixed_gemm::Rows from(int64_t first) const {
    return {values + first * tile_rows, tile_rows * 16, depth * tile_rows, scales + first / chunk * n_rows, n_rows};
  }
};

/// Packs x [n_rows, ldx], columns [0, cols), into `frame`.
template <class T>
FixedRowBlocks pack_fixed_rows(const float* x, int64_t ldx, int64_t n_rows, int64_t cols, int64_t chunk, float largest,
                               ScratchFrame& frame) {
  const RowLimits limits(largest, chunk);
  constexpr int64_t kTile = T::kTileRows;
  const int64_t depth = gemm::round_up(cols, 16), tiles = gemm::ceil_div(n_rows, kTile);
  auto* values = static_cast<int16_t*>(frame.bytes(static_cast<size_t>(depth * tiles * kTile) * sizeof(int16_t)));
  float* scales = frame.floats(gemm::ceil_div(cols, chunk) * n_rows);
  parallel_for(0, tiles, 2, [&](int64_t begin, int64_t end) {
    alignas(64) int16_t integers[kMostChunk];
    for (int64_t i = begin * kTile; i < std::min(end * kTile, n_rows); ++i) {
      int16_t* out = values + i / kTile * kTile * depth + i % kTile * 16;
      for (int64_t k = 0; k < cols; k += chunk) {
        const int64_t real = std::min(chunk, cols - k), padded = gemm::round_up(real, 16);
        scales[k / chunk * n_rows + i] = round_chunk<T>(x + i * ldx + k, real, padded, limits, integers);
        for (int64_t q = 0; q < padded; q += 16) std::copy(integers + q, integers + q + 16, out + (k + q) * kTile);
      }
    }
  });
  return {values, scales, n_rows, depth, chunk, kTile};
}

/// The values of a scheme as integers of the forward product.
struct ForwardCodes {
  int16_t values[16];
  float unit;     ///< what an integer is worth
  float largest;  ///< integer

  explicit ForwardCodes(Quant quant) {
    const float units = quant == Quant::kNf4 ? kNf4Units : 1.0f;
    unit = 1.0f / units;
    largest = 0.0f;
    for (int i = 0; i < 16; ++i) {
      values[i] = static_cast<int16_t>(std::lrint(q4_codebook(quant)[i] * units));
      largest = std::max(largest, std::fabs(static_cast<float>(values[i])));
    }
  }
};

/// Asks for a tile of W that is decoded soon.
template <class T>
void prefetch_tile(const uint8_t* tile, int64_t bytes) {
  for (int64_t i = 0; i < bytes; i += kLineBytes) T::prefetch(tile + i);
}

/// Row tiles [row_tile, row_tile + row_tiles) x column tiles [col_tile, col_tile + col_tiles) of W as row blocks
/// `out` [16 * row_tiles / T::kTileRows][unit][T::kTileRows][16]; a chunk is a group. @param scales [group]
/// [16 * row_tiles].
template <class T>
void decode_row_blocks(const Q4Matrix& w, const typename T::CodeTable& table, float unit, int64_t row_tile,
                       int64_t row_tiles, int64_t col_tile, int64_t col_tiles, int16_t* out, float* scales) {
  static_assert(T::kTileRows % 2 == 0, "a row pair lies in one register tile");
  constexpr int64_t kBlock = T::kTileRows * kUnit;
  const int64_t rows = row_tiles * kTileRows, groups = w.groups_per_tile();
  for (int64_t t = 0; t < row_tiles; ++t) {
    for (int64_t c = 0; c < col_tiles; ++c) {
      const uint8_t* tile = w.tile(row_tile + t, col_tile + c);
      prefetch_tile<T>(tile + col_tiles * w.tile_bytes(), w.tile_bytes());
      const TileScales<T> tile_scales(tile, groups);
      for (int64_t g = 0; g < groups; ++g) {
        float* to = scales + (c * groups + g) * rows + t * kTileRows;
        for (int64_t r = 0; r < kTileRows; ++r) to[r] = unit * tile_scales.values[g][r];
      }
      for (int64_t pair = 0; pair < kTileRows / 2; ++pair) {
        const int64_t row = t * kTileRows + 2 * pair;
        int16_t* to = out + (row / T::kTileRows * col_tiles + c) * kUnitsPerTile * kBlock + row % T::kTileRows * kUnit;
        const uint8_t* codes = tile + pair * kLineBytes;
        for (int64_t u = 0; u < kUnitsPerTile; ++u, to += kBlock) {
          T::decode_rows(codes + u / 4 * 8 * kLineBytes + u % 4 * kUnit, table, to, to + kUnit);
        }
      }
    }
  }
}

/// One chunk of one column tile of W: row tiles [row_tile, row_tile + row_tiles), at most kRowChunk rows, as panels of
/// 16 columns. Each group of columns gets the scale that its largest one asks for.
/// @param out [8][panel / 16][16][2], from the chunk's first row on. @param panel elements from one panel to the next.
/// @param scales of the chunk in the first panel. @param scale_panel elements from there to the next panel.
template <class T>
__attribute__((noinline)) void decode_column_chunk(const Q4Matrix& w, const typename T::Codebook& codebook,
                                                   int64_t row_tile, int64_t row_tiles, int64_t col_tile, int16_t* out,
                                                   int64_t panel, float* scales, int64_t scale_panel) {
  const int64_t groups = w.groups_per_tile();
  const float largest_value = w.quant == Quant::kNf4 ? 1.0f : 8.0f;
  TileScales<T> tile_scales[kRowChunk / kTileRows];
  for (int64_t t = 0; t < row_tiles; ++t) {
    const uint8_t* tile = w.tile(row_tile + t, col_tile);
    prefetch_tile<T>(tile + row_tiles * w.panel_bytes(), w.tile_bytes());
    tile_scales[t].read(tile, groups);
  }
  for (int64_t g = 0; g < groups; ++g) {
    float largest = 0.0f;
    for (int64_t t = 0; t < row_tiles; ++t) {
      for (const float scale : tile_scales[t].values[g]) largest = std::max(largest, std::fabs(scale));
    }
    const float inverse = largest == 0.0f ? 0.0f : kColumnLimit / (largest * largest_value);
    const int64_t first = g * w.group / kUnit, end = (g + 1) * w.group / kUnit;
    for (int64_t u = first; u < end; ++u) {
      std::fill_n(scales + u * scale_panel, kUnit, largest * largest_value / kColumnLimit);
    }
    for (int64_t t = 0; t < row_tiles; ++t) {
      for (int64_t pair = 0; pair < kTileRows / 2; ++pair) {
        const float* scale = tile_scales[t].values[g] + 2 * pair;
        const typename T::PairTable table = T::pair_table(codebook, scale[0] * inverse, scale[1] * inverse);
        const uint8_t* codes = w.tile(row_tile + t, col_tile) + pair * kLineBytes;
        int16_t* to = out + (t * kTileRows + 2 * pair) * kUnit;
        for (int64_t u = first; u < end; u += 2) {
          T::decode_columns(codes + u / 4 * 8 * kLineBytes + u % 4 * kUnit, table, to + u * panel,
                            to + (u + 1) * panel);
        }
      }
    }
  }
}

}  // namespace pocketlora::q4
