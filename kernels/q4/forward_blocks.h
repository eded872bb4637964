#pragma once

#include <cstdint>

#include "kernels/common/parallel.h"
#include "kernels/common/scratch.h"
#include "kernels/q4/gemm.h"
#include "kernels/q4/q4.h"

/// What the forward products of many rows share, for vectors V (common/simd_*.h): W block by block, each transposed
/// into y when all its columns are summed.
namespace pocketlora::q4 {

/// y[i][n] = sums[n][i], i < n_rows, n < rows. @param step elements from one row of `sums` to the next.
template <class V>
void store_transposed(const float* sums, int64_t step, int64_t rows, int64_t n_rows, float* y, int64_t ldy) {
  constexpr int64_t kBlock = V::kTransposeSize;
  const int64_t wide_rows = rows / 16 * 16, fast_rows = rows / kBlock * kBlock;
  const int64_t wide_tokens = n_rows / 16 * 16, fast_tokens = n_rows / kBlock * kBlock;
  for (int64_t i = 0; i < wide_tokens; i += 16) {
    for (int64_t n = 0; n < wide_rows; n += 16) {
      gemm::transpose16<V>(sums + n * step + i, step, y + i * ldy + n, ldy);
    }
  }
  for (int64_t i = 0; i < fast_tokens; i += kBlock) {
    for (int64_t n = i < wide_tokens ? wide_rows : 0; n < fast_rows; n += kBlock) {
      V::transpose(sums + n * step + i, step, y + i * ldy + n, ldy);
    }
  }
  for (int64_t i = 0; i < n_rows; ++i) {
    for (int64_t n = i < fast_tokens ? fast_rows : 0; n < rows; ++n) y[i * ldy + n] = sums[n * step + i];
  }
}

/// Tiles of rows of W in one block: 48 rows, a multiple of every register tile but AMX's.
constexpr int64_t kForwardRowTiles = 3;

/// y = bias + what `multiply(tile, tiles, sums, step, accumulate)` leaves in (or adds to) sums[n][i] for the rows of W
/// in row tiles [tile, tile + tiles). `extra(first_row, rows, sums, step)` may add to the same; both run on several
/// threads.
/// @tparam kRowTiles tiles of rows of W in one block.
/// @param y [n_rows, ldy], columns [0, w.rows) are overwritten.
template <class V, int64_t kRowTiles = kForwardRowTiles, class Multiply, class Extra>
void forward_blocks(int64_t n_rows, const Q4Matrix& w, const float* bias, float* y, int64_t ldy, Multiply&& multiply,
                    Extra&& extra) {
  const int64_t step = gemm::round_up(n_rows, gemm::kPanel);
  parallel_for(0, w.row_tiles(), kRowTiles, [&](int64_t begin, int64_t end) {
    ScratchFrame frame;
    float* sums = frame.floats(kRowTiles * kTileRows * step);
    for (int64_t t = begin; t < end; t += kRowTiles) {
      const int64_t tiles = end - t < kRowTiles ? end - t : kRowTiles;
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

}  // namespace pocketlora::q4
