#pragma once

#include <cstdint>

#include "kernels/common/parallel.h"
#include "kernels/common/scratch.h"
#include "kernels/q4/compute.h"
#include "kernels/q4/decode.h"
#include "kernels/q4/fixed_rows.h"
#include "kernels/q4/gemm.h"
#include "kernels/q4/gemv.h"
#include "kernels/q4/q4.h"

/// The two products of a 4-bit matrix with rows of activations, for vectors V (common/simd_*.h). `Extra` is work that
/// an op adds while a block of the result is at hand (the LoRA branch).
namespace pocketlora::q4 {

/// y = x * W^T + bias as the thread asked for it. @param x [n_rows, w.cols], n_rows at most kGemvRows.
template <class V>
void few_rows(const float* x, int64_t n_rows, const Q4Matrix& w, const float* bias, float* y) {
  switch (active_compute()) {
    case Compute::kInt8:
      return fixed_rows<typename V::Bytes>(x, n_rows, w, bias, y);
    case Compute::kInt16:
      return fixed_rows<typename V::Fixed>(x, n_rows, w, bias, y);
    case Compute::kFloat32:
      return gemv_rows<V>(x, n_rows, w, bias, y);
  }
}

/// Rows of activations that are worked on at once; it bounds the scratch.
constexpr int64_t kRowBlock = 256;

/// Calls `fn(first, count)` for blocks of at most kRowBlock rows.
template <class Fn>
void for_row_blocks(int64_t n_rows, Fn&& fn) {
  for (int64_t first = 0; first < n_rows; first += kRowBlock) {
    fn(first, n_rows - first < kRowBlock ? n_rows - first : kRowBlock);
  }
}

/// x^T as panels of 16 rows of x: panels[ceil(n_rows / 16)][depth()][16], zero-padded.
struct PackedRows {
  const float* panels;
  int64_t n_rows;
  int64_t cols;

  int64_t depth() const { return gemm::round_up(cols, 16); }
  int64_t panel_size() const { return depth() * gemm::kPanel; }
  int64_t padded_rows() const { return gemm::round_up(n_rows, gemm::kPanel); }
};

/// Packs x [n_rows, cols] into `frame`.
template <class V>
PackedRows pack_rows(const float* x, int64_t n_rows, int64_t cols, ScratchFrame& frame) {
  PackedRows packed{nullptr, n_rows, cols};
  float* panels = frame.floats(packed.padded_rows() * packed.depth());
  packed.panels = panels;
  parallel_for(0, packed.padded_rows() / gemm::kPanel, 1, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      const int64_t left = n_rows - p * gemm::kPanel;
      gemm::pack_panel_transposed<V>(x + p * gemm::kPanel * cols, cols, cols, left < 16 ? left : 16,
                                     panels + p * packed.panel_size());
    }
  });
  return packed;
}

/// y[i][n] = sums[n][i], i < n_rows, n < rows. @param step elements from one row of `sums` to the next.
template <class V>
void store_transposed(const float* sums, int64_t step, int64_t rows, int64_t n_rows, float* y, int64_t ldy) {
  constexpr int64_t kBlock = V::kTransposeSize;
  const int64_t fast_rows = rows / kBlock * kBlock;
  const int64_t fast_tokens = n_rows / kBlock * kBlock;
  for (int64_t i = 0; i < fast_tokens; i += kBlock) {
    for (int64_t n = 0; n < fast_rows; n += kBlock) V::transpose(sums + n * step + i, step, y + i * ldy + n, ldy);
  }
  for (int64_t i = 0; i < n_rows; ++i) {
    for (int64_t n = i < fast_tokens ? fast_rows : 0; n < rows; ++n) y[i * ldy + n] = sums[n * step + i];
  }
}

/// y = x * W^T + bias for packed rows. `extra(first_row, rows, sums, step)` may add to sums[n][i] of rows
/// [first_row, first_row + rows) of W (whole tiles); it runs on several threads.
/// @param y [n_rows, ldy], columns [0, w.rows) are overwritten.
template <class V, class Extra>
void forward_product(const PackedRows& x, const Q4Matrix& w, const float* bias, float* y, int64_t ldy, Extra&& extra) {
  constexpr int64_t kTilesAtOnce = 3;  // 48 rows: a multiple of every register tile
  constexpr int64_t kColTiles = 2;
  const int64_t step = x.padded_rows();
  parallel_for(0, w.row_tiles(), kTilesAtOnce, [&](int64_t begin, int64_t end) {
    ScratchFrame frame;
    float* block = frame.floats(kTilesAtOnce * kTileRows * kColTiles * kTileCols);
    float* sums = frame.floats(kTilesAtOnce * kTileRows * step);
    for (int64_t t = begin; t < end; t += kTilesAtOnce) {
      const int64_t tiles = end - t < kTilesAtOnce ? end - t : kTilesAtOnce;
      const int64_t first = t * kTileRows;
      const int64_t rows = tiles * kTileRows;
      const int64_t real = w.rows - first < rows ? w.rows - first : rows;
      if (bias != nullptr) {
        for (int64_t n = 0; n < rows; ++n) {
          for (int64_t i = 0; i < step; ++i) sums[n * step + i] = n < real ? bias[first + n] : 0.0f;
        }
      }
      for (int64_t c = 0; c < w.col_tiles(); c += kColTiles) {
        const int64_t col_tiles = w.col_tiles() - c < kColTiles ? w.col_tiles() - c : kColTiles;
        const int64_t left = x.depth() - c * kTileCols;
        const int64_t depth = left < col_tiles * kTileCols ? left : col_tiles * kTileCols;
        dequantize_block<V>(w, t, tiles, c, col_tiles, block);
        gemm::multiply<V, true>(block, rows, x.panels + c * kTileCols * gemm::kPanel, x.panel_size(), depth, sums, step,
                                step, c > 0 || bias != nullptr);
      }
      extra(first, rows, sums, step);
      store_transposed<V>(sums, step, real, x.n_rows, y + first, ldy);
    }
  });
}

/// dx (+)= dy * W. `extra(first_col, cols)` may add to those columns of dx; it runs on several threads.
/// @param dy [n_rows, ldy], columns [0, w.rows) are read. @param dx [n_rows, w.cols]; overwritten unless `accumulate`.
template <class V, class Extra>
void backward_product(const float* dy, int64_t ldy, int64_t n_rows, const Q4Matrix& w, float* dx, bool accumulate,
                      Extra&& extra) {
  constexpr int64_t kColTiles = 2;
  constexpr int64_t kRowTiles = 16;
  parallel_for(0, w.col_tiles(), 1, [&](int64_t begin, int64_t end) {
    ScratchFrame frame;
    float* block = frame.floats(kRowTiles * kTileRows * kColTiles * kTileCols);
    float* rows_of_dy = frame.floats(n_rows * kRowTiles * kTileRows);
    for (int64_t c = begin; c < end; c += kColTiles) {
      const int64_t col_tiles = end - c < kColTiles ? end - c : kColTiles;
      const int64_t first_col = c * kTileCols;
      const int64_t cols = w.cols - first_col < col_tiles * kTileCols ? w.cols - first_col : col_tiles * kTileCols;
      for (int64_t t = 0; t < w.row_tiles(); t += kRowTiles) {
        const int64_t tiles = w.row_tiles() - t < kRowTiles ? w.row_tiles() - t : kRowTiles;
        const int64_t left = w.rows - t * kTileRows;
        const int64_t depth = left < tiles * kTileRows ? left : tiles * kTileRows;
        dequantize_block<V>(w, t, tiles, c, col_tiles, block);
        gemm::interleave<V>(dy + t * kTileRows, ldy, 1, n_rows, depth, rows_of_dy);
        gemm::multiply<V, false>(rows_of_dy, n_rows, block, tiles * kTileRows * gemm::kPanel, depth, dx + first_col,
                                 w.cols, cols, accumulate || t > 0);
      }
      extra(first_col, cols);
    }
  });
}

}  // namespace pocketlora::q4
