#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "kernels/common/parallel.h"
#include "kernels/common/scratch.h"
#include "kernels/q4/bf16_products.h"
#include "kernels/q4/bytes_products.h"
#include "kernels/q4/compute.h"
#include "kernels/q4/decode.h"
#include "kernels/q4/fixed_gemm.h"
#include "kernels/q4/fixed_operands.h"
#include "kernels/q4/fixed_rows.h"
#include "kernels/q4/forward_blocks.h"
#include "kernels/q4/gemm.h"
#include "kernels/q4/gemv.h"
#include "kernels/q4/paired_rows.h"
#include "kernels/q4/panel_rows.h"
#include "kernels/q4/q4.h"

/// The two products of a 4-bit matrix with rows of activations, for vectors V (common/simd_*.h). `Extra` is work that
/// an op adds while a block of the result is at hand (the LoRA branch).
namespace pocketlora::q4 {

/// Whether V has 8-bit integers only: the kernels of another instruction set take everything else.
template <class V>
constexpr bool kBytesOnly = std::is_void_v<typename V::Fixed>;

/// Whether V has more than kGemvRows rows in bf16 only: the same.
template <class V>
constexpr bool kBf16Only = !std::is_void_v<typename V::ManyBf16>;

/// y = x * W^T + bias as the thread asked for it. @param x [n_rows, w.cols], n_rows at most kGemvRows.
template <class V>
void few_rows(const float* x, int64_t n_rows, const Q4Matrix& w, const float* bias, float* y) {
  if constexpr (kBytesOnly<V>) {
    byte_rows<typename V::Bytes>(x, n_rows, w, bias, y);
  } else {
    switch (active_compute()) {
      case Compute::kInt8:
        return byte_rows<typename V::Bytes>(x, n_rows, w, bias, y);
      case Compute::kInt16:
      case Compute::kBf16:
        return FewRows<typename V::Fixed>::run(x, n_rows, w, bias, y);
      case Compute::kFloat32:
        return gemv_rows<V>(x, n_rows, w, bias, y);
    }
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

/// Tiles of columns of W in one block of the forward product.
constexpr int64_t kForwardColTiles = 2;

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

/// Packs x [n_rows, w.cols] for integer products with w, or with rows of it, into `frame`.
template <class V>
FixedPanels pack_fixed(const float* x, int64_t n_rows, const Q4Matrix& w, ScratchFrame& frame) {
  const ForwardCodes codes(w.quant);
  return pack_fixed_panels<typename V::Fixed::Many>(x, n_rows, w.cols, w.group, codes.largest, frame);
}

/// The same in 16-bit integers. @param packed by pack_fixed().
template <class V, class Extra>
void forward_product(const FixedPanels& packed, const Q4Matrix& w, const float* bias, float* y, int64_t ldy,
                     Extra&& extra) {
  using T = typename V::Fixed::Many;
  const ForwardCodes codes(w.quant);
  const auto multiply = [&](int64_t t, int64_t tiles, float* sums, int64_t step, bool accumulate) {
    ScratchFrame frame;
    const int64_t rows = tiles * kTileRows;
    auto* block = static_cast<int16_t*>(frame.bytes(
        static_cast<size_t>(gemm::round_up(rows, T::kTileRows) * kForwardColTiles * kTileCols) * sizeof(int16_t)));
    float* scales = frame.floats(kForwardColTiles * w.groups_per_tile() * rows);
    const typename T::CodeTable table = T::code_table(codes.values);
    if (!accumulate) std::fill(sums, sums + rows * step, 0.0f);
    for (int64_t c = 0; c < w.col_tiles(); c += kForwardColTiles) {
      const int64_t col_tiles = w.col_tiles() - c < kForwardColTiles ? w.col_tiles() - c : kForwardColTiles;
      const int64_t left = packed.depth() - c * kTileCols;
      const int64_t depth = left < col_tiles * kTileCols ? left : col_tiles * kTileCols;
      decode_row_blocks<T>(w, table, codes.unit, t, tiles, c, col_tiles, block, scales);
      const fixed_gemm::Rows a{block, T::kTileRows * kUnit, col_tiles * kTileCols * T::kTileRows, scales, rows};
      fixed_gemm::multiply<T>(a, rows, packed.from(c * kTileCols), packed.panels(), depth, w.group, sums, step,
                              fixed_gemm::kPanel);
    }
  };
  forward_blocks<V>(packed.n_rows, w, bias, y, ldy, multiply, std::forward<Extra>(extra));
}

/// y = x * W^T + bias for x [n_rows, w.cols] as the thread asked for it. `extra` and `y` as forward_blocks().
template <class V, class Extra>
void many_rows(const float* x, int64_t n_rows, const Q4Matrix& w, const float* bias, float* y, int64_t ldy,
               Extra&& extra) {
  ScratchFrame frame;
  if constexpr (kBf16Only<V>) {
    return forward_product<V>(pack_bf16<V>(x, n_rows, w, frame), w, bias, y, ldy, std::forward<Extra>(extra));
  }
  if constexpr (!std::is_void_v<typename V::ManyBytes>) {
    if (kBytesOnly<V> || active_compute() == Compute::kInt8) {
      return forward_product<V>(pack_bytes<V>(x, n_rows, w, frame), w, bias, y, ldy, std::forward<Extra>(extra));
    }
  }
  if constexpr (!kBytesOnly<V> && !kBf16Only<V>) {
    if constexpr (V::Fixed::kManyRows) {
      if (active_compute() != Compute::kFloat32) {
        const FixedPanels packed = pack_fixed<V>(x, n_rows, w, frame);
        return forward_product<V>(packed, w, bias, y, ldy, std::forward<Extra>(extra));
      }
    }
    const PackedRows packed = pack_rows<V>(x, n_rows, w.cols, frame);
    forward_product<V>(packed, w, bias, y, ldy, std::forward<Extra>(extra));
  }
}

/// Tiles of columns and of rows of W in one block of the backward product.
constexpr int64_t kBackwardColTiles = 2, kBackwardRowTiles = 16;

/// dx (+)= dy * W. `extra(first_col, cols)` may add to those columns of dx; it runs on several threads.
/// @param dy [n_rows, ldy], columns [0, w.rows) are read. @param dx [n_rows, w.cols]; overwritten unless `accumulate`.
template <class V, class Extra>
void backward_product(const float* dy, int64_t ldy, int64_t n_rows, const Q4Matrix& w, float* dx, bool accumulate,
                      Extra&& extra) {
  constexpr int64_t kColTiles = kBackwardColTiles, kRowTiles = kBackwardRowTiles;
  parallel_for(0, w.col_tiles(), kColTiles, [&](int64_t begin, int64_t end) {
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

/// dx (+)= dy * W in 16-bit integers. Parameters as backward_product().
template <class V, class Extra>
void fixed_backward_product(const float* dy, int64_t ldy, int64_t n_rows, const Q4Matrix& w, float* dx, bool accumulate,
                            Extra&& extra) {
  using T = typename V::Fixed::Many;
  constexpr int64_t kColTiles = kBackwardColTiles, kRowTiles = kBackwardRowTiles;
  constexpr int64_t kRows = kRowTiles * kTileRows, kChunkTiles = kRowChunk / kTileRows;
  constexpr int64_t kPanels = kColTiles * kUnitsPerTile, kScales = kRows / kRowChunk * fixed_gemm::kPanel;
  constexpr int64_t kTile = T::kTilePanels * fixed_gemm::kPanel;
  ScratchFrame packing;
  const FixedRowBlocks packed = pack_fixed_rows<T>(dy, ldy, n_rows, w.rows, kRowChunk, kColumnLimit, packing);
  parallel_for(0, w.col_tiles(), kColTiles, [&](int64_t begin, int64_t end) {
    ScratchFrame frame;
    auto* block =
        static_cast<int16_t*>(frame.bytes(static_cast<size_t>(kPanels * kRows * fixed_gemm::kPanel) * sizeof(int16_t)));
    float* scales = frame.floats(kPanels * kScales);
    // Rows of dx lie a power of two apart and would share a few lines of the nearest cache.
    float* sums = frame.floats(n_rows * kPanels * fixed_gemm::kPanel);
    const typename T::Codebook codebook = T::codebook(q4_codebook(w.quant));
    for (int64_t c = begin; c < end; c += kColTiles) {
      const int64_t col_tiles = end - c < kColTiles ? end - c : kColTiles;
      const int64_t first_col = c * kTileCols;
      const int64_t cols = w.cols - first_col < col_tiles * kTileCols ? w.cols - first_col : col_tiles * kTileCols;
      const int64_t panels = gemm::ceil_div(cols, fixed_gemm::kPanel);
      std::fill_n(sums, gemm::round_up(panels, T::kTilePanels) * n_rows * fixed_gemm::kPanel, 0.0f);
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
        const fixed_gemm::Panels b{block, kRows * fixed_gemm::kPanel, scales, kScales};
        fixed_gemm::multiply<T>(packed.from(t * kTileRows), n_rows, b, panels, tiles * kTileRows, kRowChunk, sums,
                                kTile, n_rows * fixed_gemm::kPanel);
      }
      for (int64_t i = 0; i < n_rows; ++i) {
        for (int64_t k = 0; k < cols; k += kTile) {
          const float* from = sums + k * n_rows + i * kTile;
          gemm::add_or_copy<T>(from, std::min(kTile, cols - k), dx + i * w.cols + first_col + k, accumulate);
        }
      }
      extra(first_col, cols);
    }
  });
}

/// dx = dy * W as the thread asked for it. Parameters as backward_product().
template <class V, class Extra>
void input_gradient(const float* dy, int64_t ldy, int64_t n_rows, const Q4Matrix& w, float* dx, Extra&& extra) {
  if constexpr (kBf16Only<V>) {
    return bf16_backward_product<V>(dy, ldy, n_rows, w, dx, false, std::forward<Extra>(extra));
  }
  if constexpr (!std::is_void_v<typename V::ManyBytes>) {
    // With bytes only, the few rows that are left of many are bytes too.
    if (kBytesOnly<V> || (active_compute() == Compute::kInt8 && n_rows > kGemvRows)) {
      return bytes_backward_product<V>(dy, ldy, n_rows, w, dx, false, std::forward<Extra>(extra));
    }
  }
  if constexpr (!kBytesOnly<V> && !kBf16Only<V>) {
    if constexpr (V::Fixed::kManyRows) {
      if (active_compute() != Compute::kFloat32 && n_rows > kGemvRows) {
        return fixed_backward_product<V>(dy, ldy, n_rows, w, dx, false, std::forward<Extra>(extra));
      }
    }
    backward_product<V>(dy, ldy, n_rows, w, dx, false, std::forward<Extra>(extra));
  }
}

}  // namespace pocketlora::q4
