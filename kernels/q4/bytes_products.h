#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>

#include "kernels/common/parallel.h"
#include "kernels/common/scratch.h"
#include "kernels/q4/bytes_gemm.h"
#include "kernels/q4/bytes_operands.h"
#include "kernels/q4/forward_blocks.h"
#include "kernels/q4/q4.h"

/// The two products of a 4-bit matrix with many rows of activations in 8-bit integers, for vectors V that have
/// V::ManyBytes.
namespace pocketlora::q4 {

/// Tiles of columns of W in one block of the forward product.
constexpr int64_t kByteForwardColTiles = 16;

/// Packs x [n_rows, w.cols] for the forward product with w, or with some of its rows.
template <class V>
BytePanels pack_bytes(const float* x, int64_t n_rows, const Q4Matrix& w, ScratchFrame& frame) {
  return pack_byte_panels<typename V::ManyBytes>(x, n_rows, w.cols, std::min<int64_t>(w.group, kByteChunk), frame);
}

template <class V, int64_t kChunk, class Extra>
void bytes_forward_chunks(const BytePanels& x, const Q4Matrix& w, const float* bias, float* y, int64_t ldy,
                          Extra&& extra) {
  using T = typename V::ManyBytes;
  constexpr int64_t kColTiles = kByteForwardColTiles, kTileChunks = kTileCols / kChunk;
  const ByteCodes codes(w.quant, T::kOffset);
  const auto multiply = [&](int64_t t, int64_t tiles, float* sums, int64_t step, bool accumulate) {
    ScratchFrame frame;
    const int64_t rows = tiles * kTileRows;
    auto* block = static_cast<uint8_t*>(frame.bytes(static_cast<size_t>(rows * kColTiles * kTileCols)));
    float* scales = frame.floats(kColTiles * kTileChunks * rows);
    const typename T::Table table = T::table(codes.values);
    for (int64_t c = 0; c < w.col_tiles(); c += kColTiles) {
      const int64_t col_tiles = std::min(w.col_tiles() - c, kColTiles);
      const int64_t chunks = std::min(x.chunks() - c * kTileChunks, col_tiles * kTileChunks);
      const bool last = c + kColTiles >= w.col_tiles();
      const int64_t ahead = last ? kForwardRowTiles * w.panel_bytes() - c * w.tile_bytes() : kColTiles * w.tile_bytes();
      decode_byte_rows<T, kChunk>(w, table, codes.unit, t, tiles, c, col_tiles, ahead, block, scales);
      bytes_gemm::multiply<T, true, kChunk>({block, scales, nullptr, rows}, rows, x.from(c * kTileChunks), chunks, sums,
                                            step, step, c > 0 || accumulate);
    }
  };
  forward_blocks<V>(x.n_rows, w, bias, y, ldy, multiply, std::forward<Extra>(extra));
}

/// y = x * W^T + bias for packed rows. `extra` and `y` as forward_blocks().
template <class V, class Extra>
void forward_product(const BytePanels& x, const Q4Matrix& w, const float* bias, float* y, int64_t ldy, Extra&& extra) {
  if (x.chunk < kByteChunk) {
    bytes_forward_chunks<V, kByteChunk / 2>(x, w, bias, y, ldy, std::forward<Extra>(extra));
  } else {
    bytes_forward_chunks<V, kByteChunk>(x, w, bias, y, ldy, std::forward<Extra>(extra));
  }
}

/// Tiles of columns and of rows of W in one block of the backward product.
constexpr int64_t kByteBackwardColTiles = 1, kByteBackwardRowTiles = 128;

/// dx (+)= dy * W. `extra` as backward_product().
template <class V, class Extra>
void bytes_backward_product(const float* dy, int64_t ldy, int64_t n_rows, const Q4Matrix& w, float* dx, bool accumulate,
                            Extra&& extra) {
  using T = typename V::ManyBytes;
  constexpr int64_t kColTiles = kByteBackwardColTiles, kRowTiles = kByteBackwardRowTiles;
  constexpr int64_t kRows = kRowTiles * kTileRows, kChunkTiles = kByteChunk / kTileRows;
  constexpr int64_t kPanels = kColTiles * kUnitsPerTile, kPanelBytes = kRows * bytes_gemm::kPanel;
  constexpr int64_t kScales = kRows / kByteChunk * bytes_gemm::kPanel;
  ScratchFrame packing;
  const ByteRows packed = pack_byte_rows<T>(dy, ldy, n_rows, w.rows, packing);
  parallel_for(0, w.col_tiles(), 1, [&](int64_t begin, int64_t end) {
    ScratchFrame frame;
    auto* block = static_cast<uint8_t*>(frame.bytes(static_cast<size_t>(kPanels * kPanelBytes)));
    float* scales = frame.floats(kPanels * kScales);
    const typename T::Codebook codebook = T::codebook(q4_codebook(w.quant));
    // The last chunk of W's rows may have fewer: what is behind them is multiplied by zeros.
    if (w.row_tiles() % kChunkTiles != 0) std::fill_n(block, kPanels * kPanelBytes, uint8_t{0});
    for (int64_t c = begin; c < end; c += kColTiles) {
      const int64_t col_tiles = std::min(end - c, kColTiles);
      const int64_t first_col = c * kTileCols, cols = std::min(w.cols - first_col, col_tiles * kTileCols);
      for (int64_t t = 0; t < w.row_tiles(); t += kRowTiles) {
        const int64_t tiles = std::min(w.row_tiles() - t, kRowTiles);
        const bool last = t + kRowTiles >= w.row_tiles();
        const int64_t ahead = last ? kColTiles * w.tile_bytes() - t * w.panel_bytes() : kRowTiles * w.panel_bytes();
        for (int64_t tile = 0; tile < tiles; tile += kChunkTiles) {
          for (int64_t j = 0; j < col_tiles; ++j) {
            decode_byte_columns<T>(
                w, codebook, t + tile, std::min(kChunkTiles, tiles - tile), c + j, ahead,
                block + j * kUnitsPerTile * kPanelBytes + tile * kTileRows * bytes_gemm::kPanel, kPanelBytes,
                scales + j * kUnitsPerTile * kScales + tile / kChunkTiles * bytes_gemm::kPanel, kScales);
          }
        }
        bytes_gemm::multiply<T, false, kByteChunk>(
            packed.from(t / kChunkTiles), n_rows, {block, scales, nullptr, kPanelBytes, kScales},
            gemm::ceil_div(tiles, kChunkTiles), dx + first_col, w.cols, cols, accumulate || t > 0);
      }
      extra(first_col, cols);
    }
  });
}

}  // namespace pocketlora::q4
