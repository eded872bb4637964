#pragma once

#include <cstdint>

#include "kernels/common/parallel.h"
#include "kernels/common/scratch.h"
#include "kernels/q4/decode.h"
#include "kernels/q4/q4.h"

/// The forward product of a few rows, decoded into registers, for vectors V (common/simd_*.h).
namespace pocketlora::q4 {

/// Up to this many rows the forward product decodes into registers.
constexpr int64_t kGemvRows = 4;
/// Columns of one step: the smallest group.
constexpr int64_t kDotColumns = 32;

/// Copies a row to whole column tiles, zero-padded, each 32 columns in the order of V's dot products.
template <class V>
void order_row(const float* x, int64_t cols, int64_t padded, float* out) {
  const int64_t whole = cols / kDotColumns * kDotColumns;
  for (int64_t k = 0; k < whole; k += kDotColumns) {
    for (int p = 0; p < kDotColumns; ++p) out[k + p] = x[k + V::dot_column(p)];
  }
  for (int64_t k = whole; k < padded; k += kDotColumns) {
    for (int p = 0; p < kDotColumns; ++p) {
      const int64_t column = k + V::dot_column(p);
      out[k + p] = column < cols ? x[column] : 0.0f;
    }
  }
}

/// Adds one group of a row pair to `even` and `odd`: scale * sum of codebook[code] * x.
template <class V, int kRows, int kGroup>
inline void dot_group(const uint8_t* tile, int64_t pair, int64_t first, const typename V::DotTable& table,
                      const float* x, int64_t x_step, const float* scales, typename V::F* even, typename V::F* odd) {
  using F = typename V::F;
  F a_sum[kRows], b_sum[kRows];
  for (int i = 0; i < kRows; ++i) a_sum[i] = b_sum[i] = V::zero();
  PL_UNROLL for (int64_t unit = 0; unit < kGroup / kDotColumns; ++unit) {
    const int64_t k = first + unit * kDotColumns;
    F a[V::kDotVectors], b[V::kDotVectors];
    V::decode_dot(tile + (k / 64 * 8 + pair) * kLineBytes + k % 64, table, a, b);
    PL_UNROLL for (int v = 0; v < V::kDotVectors; ++v) {
      PL_UNROLL for (int i = 0; i < kRows; ++i) {
        const F xv = V::load(x + i * x_step + k + v * V::kLanes);
        a_sum[i] = V::fma(a[v], xv, a_sum[i]);
        b_sum[i] = V::fma(b[v], xv, b_sum[i]);
      }
    }
  }
  const F a_scale = V::set1(scales[2 * pair]), b_scale = V::set1(scales[2 * pair + 1]);
  for (int i = 0; i < kRows; ++i) {
    even[i] = V::fma(a_sum[i], a_scale, even[i]);
    odd[i] = V::fma(b_sum[i], b_scale, odd[i]);
  }
}

/// out[i][r] = sum over k of x[i][k] * W[16 * row_tile + r][k]. @param x rows from order_row(), x_step apart.
template <class V, int kRows, int kGroup>
void gemv_panel(const float* x, int64_t x_step, const Q4Matrix& w, const typename V::DotTable& table, int64_t row_tile,
                float out[kRows][kTileRows]) {
  typename V::F sums[kTileRows][kRows];
  for (auto& row : sums) {
    for (typename V::F& sum : row) sum = V::zero();
  }
  constexpr int64_t kGroups = kTileCols / kGroup;
  const int64_t bytes = w.tile_bytes();
  const uint8_t* tile = w.tile(row_tile, 0);
  for (int64_t c = 0; c < w.col_tiles(); ++c, tile += bytes) {
    const TileScales<V> scales(tile, kGroups);
    for (int64_t pair = 0; pair < kTileRows / 2; ++pair) {
      // One tile ahead of the decoding, two lines a pair; a prefetch beyond the matrix has no effect.
      V::prefetch(tile + bytes + 2 * pair * kLineBytes);
      V::prefetch(tile + bytes + (2 * pair + 1) * kLineBytes);
      PL_UNROLL for (int64_t g = 0; g < kGroups; ++g) {
        dot_group<V, kRows, kGroup>(tile, pair, g * kGroup, table, x + c * kTileCols, x_step, scales.values[g],
                                    sums[2 * pair], sums[2 * pair + 1]);
      }
    }
  }
  for (int i = 0; i < kRows; ++i) {
    for (int64_t r = 0; r < kTileRows; ++r) out[i][r] = V::sum(sums[r][i]);
  }
}

/// Chooses gemv_panel's group at run time.
template <class V, int kRows>
void gemv_panel_of(const float* x, int64_t x_step, const Q4Matrix& w, const typename V::DotTable& table,
                   int64_t row_tile, float out[kRows][kTileRows]) {
  switch (w.group) {
    case 32:
      return gemv_panel<V, kRows, 32>(x, x_step, w, table, row_tile, out);
    case 64:
      return gemv_panel<V, kRows, 64>(x, x_step, w, table, row_tile, out);
    default:
      return gemv_panel<V, kRows, 128>(x, x_step, w, table, row_tile, out);
  }
}

/// y = x * W^T + bias. @param x [kRows, w.cols].
template <class V, int kRows>
void gemv(const float* x, const Q4Matrix& w, const float* bias, float* y) {
  ScratchFrame frame;
  const int64_t step = w.col_tiles() * kTileCols;
  float* ordered = frame.floats(kRows * step);
  for (int64_t i = 0; i < kRows; ++i) order_row<V>(x + i * w.cols, w.cols, step, ordered + i * step);
  parallel_for(0, w.row_tiles(), 4, [&](int64_t begin, int64_t end) {
    const typename V::DotTable table = V::dot_table(q4_codebook(w.quant));
    for (int64_t t = begin; t < end; ++t) {
      float out[kRows][kTileRows];
      gemv_panel_of<V, kRows>(ordered, step, w, table, t, out);
      const int64_t first = t * kTileRows;
      for (int64_t r = 0; r < kTileRows && first + r < w.rows; ++r) {
        const float add = bias == nullptr ? 0.0f : bias[first + r];
        for (int64_t i = 0; i < kRows; ++i) y[i * w.rows + first + r] = out[i][r] + add;
      }
    }
  });
}

/// Chooses gemv's number of rows at run time.
template <class V>
void gemv_rows(const float* x, int64_t n_rows, const Q4Matrix& w, const float* bias, float* y) {
  static_assert(kGemvRows == 4, "one case for each number of rows");
  switch (n_rows) {
    case 1:
      return gemv<V, 1>(x, w, bias, y);
    case 2:
      return gemv<V, 2>(x, w, bias, y);
    case 3:
      return gemv<V, 3>(x, w, bias, y);
    case 4:
      return gemv<V, 4>(x, w, bias, y);
  }
}

}  // namespace pocketlora::q4
