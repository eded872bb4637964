#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>

#include "kernels/common/parallel.h"
#include "kernels/common/scratch.h"
#include "kernels/q4/compute.h"
#include "kernels/q4/decode.h"
#include "kernels/q4/fixed_gemm.h"
#include "kernels/q4/fixed_operands.h"
#include "kernels/q4/fixed_rows.h"
#include "kernels/q4/gemm.h"
#include "kernels/q4/gemv.h"
#include "kernels/q4/panel_rows.h"
#include "kernels/q4/q4.h"

/// The two products of a 4-bit matrix with rows of activations, for vectors V (common/simd_*.h). `Extra` is work that
/// an op adds while a block of the result is at hand (the LoRA branch).
namespace pocketlora::q4 {

/// y = x * W^T + bias as the thread asked for it. @param x [n_rows, w.cols], n_rows at most kGemvRows.
template <class V>
void few_rows(const float* x, int64_t n_rows, const Q4Matrix& w, const float* bias, float* y) {
  switch (active_compute()) {
    case Compute::kInt8:
      return FewRows<typename V::Bytes>::run(x, n_rows, w, bias, y);
    case Compute::kInt16:
      return FewRows<typename V::Fixed>::run(x, n_rows, w, bias, y);
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

/// Tiles of rows and of columns of W in one block of the forward product: 48 rows, a multiple of every register tile.
constexpr int64_t kForwardRowTiles = 3, kForwardColTiles = 2;

/// y = bias + what `multiply(tile, tiles, sums, step, accumulate)` leaves in (or adds to) sums[n][i] for the rows of W
/// in row tiles [tile, tile + tiles). `extra(first_row, rows, sums, step)` may add to the same; both run on several
/// threads.
/// @param y [n_rows, ldy], columns [0, w.rows) are overwritten.
template <class V, class Multiply, class Extra>
void forward_blocks(int64_t n_rows, const Q4Matrix& w, const float* bias, float* y, int64_t ldy, Multiply&& multiply,
                    Extra&& extra) {
  const int64_t step = gemm::round_up(n_rows, gemm::kPanel);
  parallel_for(0, w.row_tiles(), kForwardRowTiles, [&](int64_t begin, int64_t end) {
    ScratchFrame frame;
    float* sums = frame.floats(kForwardRowTiles * kTileRows * step);
    for (int64_t t = begin; t < end; t += kForwardRowTiles) {
      const int64_t tiles = end - t < kForwardRowTiles ? end - t : kForwardRowTiles;
      const int64_t first = t * kTileRows;
      const int64_t rows = tiles * kTileRows;
      const int64_t real = w.rows - first < rows ? w.rows - first : rows;
      if (bias != nullptr) {
        for (int64_t n = 0; n < rows; ++n) {
          for (int64_t i = 0; i < step; ++i) sums[n * step + i] = n < real ? bias[first + n] : 0.0f;
        }
      }
      multiply(t, tiles, sums, step, bias != nullptr);
      extra(first, rows, sums, step);
      store_transposed<V>(sums, step, real, n_rows, y + first, ldy);
    }
  });
}

/// y = x * W^T + bias for packed rows. `extra` and `y` as forward_blocks().
template <class V, class Extra>
void forward_product(const PackedRows& x, const Q4Matrix& w, const float* bias, float* y, int64_t ldy, Extra&& extra) {
  const auto multiply = [&](int64_t t, int64_t tiles, float* sums, int64_t step, bool accumulate) {
    ScratchFrame frame;
    const int64_t rows = tiles * kTileRows;
    float* block = frame.floats(rows * kForwardColTiles * kTileCols);
    for (int64_t c = 0; c < w.col_tiles(); c += kForwardColTiles) {
      const int64_t col_tiles = w.col_tiles() - c < kForwardColTiles ? w.col_tiles() - c : kForwardColTiles;
      const int64_t left = x.depth() - c * kTileCols;
      const int64_t depth = left < col_tiles * kTileCols ? left : col_tiles * kTileCols;
      dequantize_block<V>(w, t, tiles, c, col_tiles, block);
      gemm::multiply<V, true>(block, rows, x.panels + c * kTileCols * gemm::kPanel, x.panel_size(), depth, sums, step,
                              step, c > 0 || accumulate);
    }
  };
  forward_blocks<V>(x.n_rows, w, bias, y, ldy, multiply, std::forward<Extra>(extra));
}

/// The same in 16-bit integers.
template <class V, class Extra>
void fixed_forward_product(const float* x, int64_t n_rows, const Q4Matrix& w, const float* bias, float* y, int64_t ldy,
                           Extra&& extra) {
  using T = typename V::Fixed;
  ScratchFrame packing;
  const ForwardCodes codes(w.quant);
  const FixedPanels packed = pack_fixed_panels<T>(x, n_rows, w.cols, w.group, codes.largest, packing);
  const auto multiply = [&](int64_t t, int64_t tiles, float* sums, int64_t step, bool accumulate) {
    ScratchFrame frame;
    const int64_t rows = tiles * kTileRows;
    auto* block =
        static_cast<int16_t*>(frame.bytes(static_cast<size_t>(rows * kForwardColTiles * kTileCols) * sizeof(int16_t)));
    float* scales = frame.floats(kForwardColTiles * w.groups_per_tile() * rows);
    const typename T::CodeTable table = T::code_table(codes.values);
    if (!accumulate) std::fill(sums, sums + rows * step, 0.0f);
    for (int64_t c = 0; c < w.col_tiles(); c += kForwardColTiles) {
      const int64_t col_tiles = w.col_tiles() - c < kForwardColTiles ? w.col_tiles() - c : kForwardColTiles;
      const int64_t left = packed.depth() - c * kTileCols;
      const int64_t depth = left < col_tiles * kTileCols ? left : col_tiles * kTileCols;
      decode_row_blocks<T>(w, table, codes.unit, t, tiles, c, col_tiles, block, scales);
      const fixed_gemm::Rows a{block, rows * 16, scales, rows};
      for (int64_t p = 0; p < packed.panels(); ++p) {
        fixed_gemm::multiply_panel<T>(a, rows, packed.from(p, c * kTileCols), depth, w.group,
                                      sums + p * fixed_gemm::kPanel, step, fixed_gemm::kPanel);
      }
    }
  };
  forward_blocks<V>(n_rows, w, bias, y, ldy, multiply, std::forward<Extra>(extra));
}

/// y = x * W^T + bias for x [n_rows, w.cols] as the thread asked for it. `extra` and `y` as forward_blocks().
template <class V, class Extra>
void many_rows(const float* x, int64_t n_rows, const Q4Matrix& w, const float* bias, float* y, int64_t ldy,
               Extra&& extra) {
  if constexpr (V::Fixed::kManyRows) {
    if (active_compute() != Compute::kFloat32) {
      return fixed_forward_product<V>(x, n_rows, w, bias, y, ldy, std::forward<Extra>(extra));
    }
  }
  ScratchFrame frame;
  const PackedRows packed = pack_rows<V>(x, n_rows, w.cols, frame);
  forward_product<V>(packed, w, bias, y, ldy, std::forward<Extra>(extra));
}

/// Tiles of columns and of rows of W in one block of the backward product.
constexpr int64_t kBackwardColTiles = 2, kBackwardRowTiles = 16;

/// dx (+)= dy * W. `extra(first_col, cols)` may add to those columns of dx; it runs on several threads.
/// @param dy [n_rows, ldy], columns [0, w.rows) are read. @param dx [n_rows, w.cols]; overwritten unless `accumulate`.
template <class V, class Extra>
void backward_product(const float* dy, int64_t ldy, int64_t n_rows, const Q4Matrix& w, float* dx, bool accumulate,
                      Extra&& extra) {
  constexpr int64_t kColTiles = kBackwardColTiles, kRowTiles = kBackwardRowTiles;
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

/// The same in 16-bit integers.
template <class V, class Extra>
void fixed_backward_product(const float* dy, int64_t ldy, int64_t n_rows, const Q4Matrix& w, float* dx, Extra&& extra) {
  using T = typename V::Fixed;
  constexpr int64_t kColTiles = kBackwardColTiles, kRowTiles = kBackwardRowTiles;
  constexpr int64_t kRows = kRowTiles * kTileRows, kChunkTiles = kRowChunk / kTileRows;
  constexpr int64_t kPanels = kColTiles * kUnitsPerTile, kScales = kRows / kRowChunk * fixed_gemm::kPanel;
  ScratchFrame packing;
  const FixedRowBlocks packed = pack_fixed_rows<T>(dy, ldy, n_rows, w.rows, kRowChunk, kColumnLimit, packing);
  parallel_for(0, w.col_tiles(), 1, [&](int64_t begin, int64_t end) {
    ScratchFrame frame;
    auto* block =
        static_cast<int16_t*>(frame.bytes(static_cast<size_t>(kPanels * kRows * fixed_gemm::kPanel) * sizeof(int16_t)));
    float* scales = frame.floats(kPanels * kScales);
    const typename T::Codebook codebook = T::codebook(q4_codebook(w.quant));
    for (int64_t c = begin; c < end; c += kColTiles) {
      const int64_t col_tiles = end - c < kColTiles ? end - c : kColTiles;
      const int64_t first_col = c * kTileCols;
      const int64_t cols = w.cols - first_col < col_tiles * kTileCols ? w.cols - first_col : col_tiles * kTileCols;
      for (int64_t i = 0; i < n_rows; ++i) std::fill_n(dx + i * w.cols + first_col, cols, 0.0f);
      for (int64_t t = 0; t < w.row_tiles(); t += kRowTiles) {
        const int64_t tiles = w.row_tiles() - t < kRowTiles ? w.row_tiles() - t : kRowTiles;
        for (int64_t tile = 0; tile < tiles; tile += kChunkTiles) {
          for (int64_t j = 0; j < col_tiles; ++j) {
            decode_column_chunk<T>(
                w, codebook, t + tile, std::min(kChunkTiles, tiles - tile), c + j,
                block + (j * kUnitsPerTile * kRows + tile * kTileRows) * fixed_gemm::kPanel, kRows * fixed_gemm::kPanel,
                scales + j * kUnitsPerTile * kScales + tile / kChunkTiles * fixed_gemm::kPanel, kScales);
          }
        }
        const fixed_gemm::Rows a = packed.from(t * kTileRows);
        for (int64_t p = 0; p * fixed_gemm::kPanel < cols; ++p) {
          const fixed_gemm::Panel b{block + p * kRows * fixed_gemm::kPanel, scales + p * kScales};
          fixed_gemm::multiply_panel<T>(a, n_rows, b, tiles * kTileRows, kRowChunk,
                                        dx + first_col + p * fixed_gemm::kPanel, w.cols, cols - p * fixed_gemm::kPanel);
        }
      }
      extra(first_col, cols);
    }
  });
}

/// dx = dy * W as the thread asked for it. Parameters as backward_product().
template <class V, class Extra>
void input_gradient(const float* dy, int64_t ldy, int64_t n_rows, const Q4Matrix& w, float* dx, Extra&& extra) {
  if constexpr (V::Fixed::kManyRows) {
    if (active_compute() != Compute::kFloat32 && n_rows > kGemvRows) {
      return fixed_backward_product<V>(dy, ldy, n_rows, w, dx, std::forward<Extra>(extra));
    }
  }
  backward_product<V>(dy, ldy, n_rows, w, dx, false, std::forward<Extra>(extra));
}

}  // namespace pocketlora::q4
