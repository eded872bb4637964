#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>

#include "kernels/common/parallel.h"
#include "kernels/common/scratch.h"
#include "kernels/q4/bf16_gemm.h"
#include "kernels/q4/bf16_operands.h"
#include "kernels/q4/forward_blocks.h"
#include "kernels/q4/q4.h"

/// The two products of a 4-bit matrix with many rows of activations in bf16, for vectors V that have V::ManyBf16.
namespace pocketlora::q4 {

/// Tiles of columns of W in one block of the forward product: with the rows of a register tile it stays in the nearest
/// cache.
constexpr int64_t kBf16ForwardColTiles = 4;

/// Packs x [n_rows, w.cols] for the forward product with w, or with some of its rows.
template <class V>
Bf16Panels pack_bf16(const float* x, int64_t n_rows, const Q4Matrix& w, ScratchFrame& frame) {
  return pack_bf16_panels<typename V::ManyBf16>(x, n_rows, w.cols, frame);
}

/// y = x * W^T + bias for packed rows. `extra` and `y` as forward_blocks().
template <class V, class Extra>
void forward_product(const Bf16Panels& x, const Q4Matrix& w, const float* bias, float* y, int64_t ldy, Extra&& extra) {
  using T = typename V::ManyBf16;
  constexpr int64_t kColTiles = kBf16ForwardColTiles;
  const typename T::Codebook codebook = T::codebook(q4_codebook(w.quant));
  const auto multiply = [&](int64_t t, int64_t tiles, float* sums, int64_t step, bool accumulate) {
    ScratchFrame frame;
    const int64_t rows = tiles * kTileRows;
    auto* block =
        static_cast<uint16_t*>(frame.bytes(static_cast<size_t>(rows * kColTiles * kTileCols) * sizeof(uint16_t)));
    for (int64_t c = 0; c < w.col_tiles(); c += kColTiles) {
      const int64_t col_tiles = std::min(w.col_tiles() - c, kColTiles), first = c * kBf16ChunksPerTile;
      const bool last = c + kColTiles >= w.col_tiles();
      const int64_t ahead =
          last ? T::kForwardRowTiles * w.panel_bytes() - c * w.tile_bytes() : kColTiles * w.tile_bytes();
      decode_bf16_rows<T>(w, codebook, t, tiles, c, col_tiles, ahead, block);
      bf16_gemm::multiply<T>({block, rows}, x.from(first), x.panels(),
                             std::min(x.chunks() - first, col_tiles * kBf16ChunksPerTile), sums, step,
                             c > 0 || accumulate);
    }
  };
  forward_blocks<V, T::kForwardRowTiles>(x.n_rows, w, bias, y, ldy, multiply, std::forward<Extra>(extra));
}

/// Tiles of rows of W in one block of the backward product, which is one tile of columns wide.
constexpr int64_t kBf16BackwardRowTiles = 32;

/// dx (+)= dy * W. `extra` as backward_product().
template <class V, class Extra>
void bf16_backward_product(const float* dy, int64_t ldy, int64_t n_rows, const Q4Matrix& w, float* dx, bool accumulate,
                           Extra&& extra) {
  using T = typename V::ManyBf16;
  constexpr int64_t kRowTiles = kBf16BackwardRowTiles, kRows = kRowTiles * kTileRows;
  constexpr int64_t kPanels = kTileCols / bf16_gemm::kPanel, kPanelSize = kRows * bf16_gemm::kPanel;
  // Rows a power of two apart would share a few lines of the nearest cache.
  constexpr int64_t kStep = kTileCols + bf16_gemm::kPanel;
  ScratchFrame packing;
  const bf16_gemm::Rows packed = pack_bf16_rows<T>(dy, ldy, n_rows, w.rows, packing);
  parallel_for(0, w.col_tiles(), 1, [&](int64_t begin, int64_t end) {
    ScratchFrame frame;
    auto* block = static_cast<uint16_t*>(frame.bytes(static_cast<size_t>(kPanels * kPanelSize) * sizeof(uint16_t)));
    float* sums = frame.floats(packed.rows * kStep);
    const typename T::Codebook codebook = T::codebook(q4_codebook(w.quant));
    // The last chunk of W's rows may have one tile of two: what is behind it is multiplied by zeros.
    if (w.row_tiles() % 2 != 0) std::fill_n(block, kPanels * kPanelSize, uint16_t{0});
    for (int64_t c = begin; c < end; ++c) {
      const int64_t first_col = c * kTileCols, cols = std::min(w.cols - first_col, kTileCols);
      for (int64_t t = 0; t < w.row_tiles(); t += kRowTiles) {
        const int64_t tiles = std::min(w.row_tiles() - t, kRowTiles);
        const bool last = t + kRowTiles >= w.row_tiles();
        const int64_t ahead = last ? w.tile_bytes() - t * w.panel_bytes() : kRowTiles * w.panel_bytes();
        decode_bf16_columns<T>(w, codebook, t, tiles, c, ahead, block, kPanelSize);
        bf16_gemm::multiply<T>({packed.values + t / 2 * packed.rows * bf16_gemm::kChunk, packed.rows},
                               {block, kPanelSize}, gemm::ceil_div(cols, bf16_gemm::kPanel), gemm::ceil_div(tiles, 2),
                               sums, kStep, t > 0);
      }
      for (int64_t i = 0; i < n_rows; ++i) {
        gemm::add_or_copy<T>(sums + i * kStep, cols, dx + i * w.cols + first_col, accumulate);
      }
      extra(first_col, cols);
    }
  });
}

}  // namespace pocketlora::q4
