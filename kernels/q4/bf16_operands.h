#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "kernels/common/parallel.h"
#include "kernels/common/scratch.h"
#include "kernels/q4/bf16_gemm.h"
#include "kernels/q4/decode.h"
#include "kernels/q4/q4.h"

/// The operands of bf16_gemm.h, for T = ManyBf16Amx and its kin (common/many_bf16_*.h): rows of activations and 4-bit
/// weights times their scales, each rounded to nearest even.
namespace pocketlora::q4 {

constexpr int64_t kBf16ChunksPerTile = kTileCols / bf16_gemm::kChunk;

/// `count` <= 32 values of a row, with zeros behind them.
template <class T>
typename T::I round_bf16(const float* x, int64_t count) {
  if (count >= bf16_gemm::kChunk) return T::round(x);
  float rest[bf16_gemm::kChunk] = {};
  std::copy(x, x + std::max<int64_t>(count, 0), rest);
  return T::round(rest);
}

/// x^T as panels of 16 rows of x.
struct Bf16Panels {
  const uint16_t* values;  ///< [panels()][chunks() * 32 / T::kDepth][16 rows][T::kDepth]
  int64_t n_rows, cols;

  int64_t chunks() const { return gemm::ceil_div(cols, bf16_gemm::kChunk); }
  int64_t panels() const { return gemm::ceil_div(n_rows, bf16_gemm::kPanel); }
  int64_t step() const { return chunks() * bf16_gemm::kChunk * bf16_gemm::kPanel; }
  /// All panels from a chunk on.
  bf16_gemm::Panels from(int64_t chunk) const {
    return {values + chunk * bf16_gemm::kChunk * bf16_gemm::kPanel, step()};
  }
};

/// One chunk of `count` <= 16 rows of x as one panel; rows from `count` and columns from `cols` on become 0.
template <class T>
void pack_bf16_chunk(const float* x, int64_t row_step, int64_t count, int64_t cols, uint16_t* out) {
  constexpr int64_t kChunk = bf16_gemm::kChunk, kPanel = bf16_gemm::kPanel;
  alignas(64) uint16_t rows[kPanel][kChunk];
  for (int64_t i = 0; i < kPanel; ++i) {
    if (i < count) {
      T::store(rows[i], round_bf16<T>(x + i * row_step, cols));
    } else {
      std::fill_n(rows[i], kChunk, uint16_t{0});
    }
  }
  if constexpr (T::kDepth == 2) {
    // Two values are moved as one float.
    gemm::transpose16<T>(reinterpret_cast<const float*>(rows), kChunk / 2, reinterpret_cast<float*>(out), kPanel);
  } else {
    for (int64_t k = 0; k < kChunk; k += T::kDepth) {
      for (const auto& row : rows) out = std::copy(row + k, row + k + T::kDepth, out);
    }
  }
}

/// Packs x [n_rows, cols] into `frame`.
template <class T>
Bf16Panels pack_bf16_panels(const float* x, int64_t n_rows, int64_t cols, ScratchFrame& frame) {
  constexpr int64_t kChunk = bf16_gemm::kChunk, kPanel = bf16_gemm::kPanel;
  Bf16Panels packed{nullptr, n_rows, cols};
  auto* values =
      static_cast<uint16_t*>(frame.bytes(static_cast<size_t>(packed.panels() * packed.step()) * sizeof(uint16_t)));
  packed.values = values;
  parallel_for(0, packed.panels(), 1, [&](int64_t first, int64_t last) {
    for (int64_t p = first; p < last; ++p) {
      const float* rows = x + p * kPanel * cols;
      for (int64_t j = 0; j < packed.chunks(); ++j) {
        pack_bf16_chunk<T>(rows + j * kChunk, cols, std::min(n_rows - p * kPanel, kPanel), cols - j * kChunk,
                           values + p * packed.step() + j * kChunk * kPanel);
      }
    }
  });
  return packed;
}

/// Packs x [n_rows, ldx], columns [0, cols), as row blocks into `frame`; the rows are filled up to those of T's blocks.
template <class T>
bf16_gemm::Rows pack_bf16_rows(const float* x, int64_t ldx, int64_t n_rows, int64_t cols, ScratchFrame& frame) {
  constexpr int64_t kChunk = bf16_gemm::kChunk;
  const int64_t rows = gemm::round_up(n_rows, T::kRowsAtOnce), chunks = gemm::ceil_div(cols, kChunk);
  auto* values = static_cast<uint16_t*>(frame.bytes(static_cast<size_t>(chunks * rows * kChunk) * sizeof(uint16_t)));
  parallel_for(0, rows / 2, 8, [&](int64_t first, int64_t last) {
    for (int64_t i = 2 * first; i < 2 * last; i += 2) {
      for (int64_t j = 0; j < chunks; ++j) {
        typename T::I both[2];
        for (int64_t r = 0; r < 2; ++r) {
          // A row that is not there has no values.
          const int64_t count = i + r < n_rows ? cols - j * kChunk : 0;
          both[r] = round_bf16<T>(count > 0 ? x + (i + r) * ldx + j * kChunk : x, count);
        }
        T::store_rows(both, values + (j * rows + i) * kChunk);
      }
    }
  });
  return {values, rows};
}

/// Row tiles [row_tile, row_tile + row_tiles) x column tiles [col_tile, col_tile + col_tiles) of W as row blocks.
/// @param ahead bytes from a tile to the one of the next block that it fetches. @param out
/// [chunk][16 * row_tiles][32].
template <class T>
void decode_bf16_rows(const Q4Matrix& w, const typename T::Codebook& codebook, int64_t row_tile, int64_t row_tiles,
                      int64_t col_tile, int64_t col_tiles, int64_t ahead, uint16_t* out) {
  const int64_t rows = row_tiles * kTileRows, groups = w.groups_per_tile();
  for (int64_t t = 0; t < row_tiles; ++t) {
    for (int64_t c = 0; c < col_tiles; ++c) {
      const uint8_t* tile = w.tile(row_tile + t, col_tile + c);
      T::prefetch_far(tile + ahead + kCodeBytes);
      const TileScales<T> scales(tile, groups);
      for (int64_t half = 0; half < 2; ++half) {
        const uint8_t* codes = tile + half * 8 * kLineBytes;
        uint16_t* to = out + ((c * kBf16ChunksPerTile + 2 * half) * rows + t * kTileRows) * bf16_gemm::kChunk;
        for (int64_t row = 0; row < kTileRows; row += 2, codes += kLineBytes, to += 2 * bf16_gemm::kChunk) {
          T::prefetch_far(codes + ahead);
          typename T::Table even{}, odd{};
          PL_UNROLL for (int64_t q = 0; q < 2; ++q) {
            if (q == 0 || groups == 4) {
              const float* scale = scales.values[(2 * half + q) * groups / kBf16ChunksPerTile] + row;
              even = T::scaled_table(codebook, scale[0]);
              odd = T::scaled_table(codebook, scale[1]);
            }
            typename T::I both[2];
            T::decode(codes + q * bf16_gemm::kChunk, even, odd, both);
            T::store_rows(both, to + q * rows * bf16_gemm::kChunk);
          }
        }
      }
    }
  }
}

/// Row tiles [row_tile, row_tile + row_tiles) of one column tile of W as panels.
/// @param ahead bytes from a tile to the one of the next block that it fetches.
/// @param out [8][panel / 16 / T::kDepth][16][T::kDepth]. @param panel elements from one panel to the next.
template <class T>
void decode_bf16_columns(const Q4Matrix& w, const typename T::Codebook& codebook, int64_t row_tile, int64_t row_tiles,
                         int64_t col_tile, int64_t ahead, uint16_t* out, int64_t panel) {
  const int64_t groups = w.groups_per_tile();
  for (int64_t t = 0; t < row_tiles; ++t) {
    const uint8_t* tile = w.tile(row_tile + t, col_tile);
    T::prefetch_far(tile + ahead + kCodeBytes);
    const TileScales<T> scales(tile, groups);
    for (int64_t half = 0; half < 2; ++half) {
      for (int64_t row = 0; row < kTileRows; row += T::kDepth) {
        const uint8_t* codes = tile + (half * 8 + row / 2) * kLineBytes;
        typename T::Table tables[T::kDepth] = {};
        PL_UNROLL for (int64_t q = 0; q < 2; ++q) {
          typename T::I values[T::kDepth];
          PL_UNROLL for (int64_t r = 0; r < T::kDepth; r += 2) {
            const uint8_t* line = codes + r / 2 * kLineBytes;
            if (q == 0 || groups == 4) {
              const float* scale = scales.values[(2 * half + q) * groups / kBf16ChunksPerTile] + row + r;
              tables[r] = T::scaled_table(codebook, scale[0]);
              tables[r + 1] = T::scaled_table(codebook, scale[1]);
            }
            if (q == 0) T::prefetch_far(line + ahead);
            T::decode_columns(line + q * bf16_gemm::kChunk, tables[r], tables[r + 1], values + r);
          }
          T::store_panels(values, out + (4 * half + 2 * q) * panel + (t * kTileRows + row) * bf16_gemm::kPanel, panel);
        }
      }
    }
  }
}

}  // namespace pocketlora::q4
