#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/common/parallel.h"
#include "kernels/common/scratch.h"
#include "kernels/q4/compute.h"
#include "kernels/q4/decode.h"
#include "kernels/q4/q4.h"

/// The forward product of a few rows, decoded into registers, for vectors V (common/simd_*.h).
namespace pocketlora::q4 {

/// Up to this many rows the forward product decodes group by group, straight from the stored tiles. A row's bits do not
/// depend on how many rows there are.
constexpr int64_t kGemvRows = kFewRows;
/// Most rows that share one decoding of a panel.
constexpr int kDotRows = 8;
/// Columns that V decodes at once: 32, the smallest group, or 64, a line.
template <class V>
constexpr int64_t dot_columns = V::kDotVectors * V::kLanes;

/// Copies a row to whole column tiles, zero-padded, the columns of a step in the order of V's dot products.
template <class V>
void order_row(const float* x, int64_t cols, int64_t padded, float* out) {
  constexpr int64_t kColumns = dot_columns<V>;
  const auto order = [](const float* from, float* to) {
    if constexpr (kColumns == 64) {
      V::order_dot(from, to);
    } else {
      for (int p = 0; p < kColumns; ++p) to[p] = from[V::dot_column(p)];
    }
  };
  const int64_t whole = cols / kColumns * kColumns;
  for (int64_t k = 0; k < whole; k += kColumns) order(x + k, out + k);
  for (int64_t k = whole; k < padded; k += kColumns) {
    float rest[kColumns] = {};
    if (k < cols) std::copy(x + k, x + cols, rest);
    order(rest, out + k);
  }
}

/// Columns that are summed before they are scaled: a group, or two of 32 that V decodes together.
template <class V, int kGroup>
constexpr int64_t dot_span = std::max<int64_t>(kGroup, dot_columns<V>);

/// A span of a row pair, decoded and not yet scaled, in the order of V's dot products.
template <class V, int kGroup>
struct DecodedSpan {
  static constexpr int kVectors = static_cast<int>(dot_span<V, kGroup> / V::kLanes);
  typename V::F even[kVectors], odd[kVectors];

  DecodedSpan(const uint8_t* tile, int64_t pair, int64_t first, const typename V::DotTable& table) {
    PL_UNROLL for (int unit = 0; unit < dot_span<V, kGroup> / dot_columns<V>; ++unit) {
      const int64_t k = first + unit * dot_columns<V>;
      V::decode_dot(tile + (k / 64 * 8 + pair) * kLineBytes + k % 64, table, even + unit * V::kDotVectors,
                    odd + unit * V::kDotVectors);
    }
  }
};

/// The scale of one row in a span. @param scale of the span's first group; that of the next is 16 on.
template <class V, int kGroup>
inline typename V::F span_scale(const float* scale) {
  if constexpr (kGroup < dot_span<V, kGroup>) {
    return V::set_halves(scale[0], scale[kTileRows]);
  } else {
    return V::set1(*scale);
  }
}

/// Adds one span of a row pair to `even` and `odd`: scale * sum of codebook[code] * x. @param x at the span's columns.
template <class V, int kRows, int kGroup>
inline void dot_span_rows(const DecodedSpan<V, kGroup>& span, const float* x, int64_t x_step, const float* scales,
                          typename V::F* even, typename V::F* odd) {
  using F = typename V::F;
  F a_sum[kRows], b_sum[kRows];
  PL_UNROLL for (int i = 0; i < kRows; ++i) a_sum[i] = b_sum[i] = V::zero();
  PL_UNROLL for (int v = 0; v < span.kVectors; ++v) {
    PL_UNROLL for (int i = 0; i < kRows; ++i) {
      const F xv = V::load_once(x + i * x_step + v * V::kLanes);
      a_sum[i] = V::fma(span.even[v], xv, a_sum[i]);
      b_sum[i] = V::fma(span.odd[v], xv, b_sum[i]);
    }
  }
  const F a_scale = span_scale<V, kGroup>(scales), b_scale = span_scale<V, kGroup>(scales + 1);
  PL_UNROLL for (int i = 0; i < kRows; ++i) {
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
      // Two tiles ahead of the decoding, two lines a pair; a prefetch beyond the matrix has no effect.
      V::prefetch(tile + 2 * bytes + 2 * pair * kLineBytes);
      V::prefetch(tile + 2 * bytes + (2 * pair + 1) * kLineBytes);
      for (int64_t k = 0; k < kTileCols; k += dot_span<V, kGroup>) {
        const DecodedSpan<V, kGroup> span(tile, pair, k, table);
        const float* columns = x + c * kTileCols + k;
        const float* scale = scales.values[k / kGroup] + 2 * pair;
        // Four rows of x and two of W are what the registers hold.
        constexpr int kAtOnce = kRows < 4 ? kRows : 4;
        for (int i = 0; i < kRows; i += kAtOnce) {
          // The compiler would keep the sums of two spans in registers that one span has no room for.
          if (V::kLanes == 8 && kRows == 8) asm volatile("" ::: "memory");
          dot_span_rows<V, kAtOnce, kGroup>(span, columns + i * x_step, x_step, scale, sums[2 * pair] + i,
                                            sums[2 * pair + 1] + i);
        }
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

/// y = x * W^T + bias for rows [first, first + kRows) of x and one panel of W.
template <class V, int kRows>
void gemv_block(const float* ordered, int64_t step, const Q4Matrix& w, const typename V::DotTable& table,
                const float* bias, int64_t first, int64_t row_tile, float* y) {
  float out[kRows][kTileRows];
  gemv_panel_of<V, kRows>(ordered + first * step, step, w, table, row_tile, out);
  const int64_t n = row_tile * kTileRows;
  for (int64_t r = 0; r < kTileRows && n + r < w.rows; ++r) {
    const float add = bias == nullptr ? 0.0f : bias[n + r];
    for (int64_t i = 0; i < kRows; ++i) y[(first + i) * w.rows + n + r] = out[i][r] + add;
  }
}

/// y = x * W^T + bias for one panel of W, in blocks of 8 (where vectors are short enough for the sums of so many), 4
/// and at last 1 to 3 rows of x.
template <class V>
void gemv_blocks(const float* ordered, int64_t step, const Q4Matrix& w, const typename V::DotTable& table,
                 const float* bias, int64_t n_rows, int64_t row_tile, float* y) {
  static_assert(kDotRows == 8, "one case for each size of a block");
  int64_t i = 0;
  if constexpr (V::kLanes < 16) {
    for (; i + 8 <= n_rows; i += 8) gemv_block<V, 8>(ordered, step, w, table, bias, i, row_tile, y);
  }
  for (; i + 4 <= n_rows; i += 4) gemv_block<V, 4>(ordered, step, w, table, bias, i, row_tile, y);
  switch (n_rows - i) {
    case 1:
      return gemv_block<V, 1>(ordered, step, w, table, bias, i, row_tile, y);
    case 2:
      return gemv_block<V, 2>(ordered, step, w, table, bias, i, row_tile, y);
    case 3:
      return gemv_block<V, 3>(ordered, step, w, table, bias, i, row_tile, y);
  }
}

/// y = x * W^T + bias. @param x [n_rows, w.cols], n_rows at most kGemvRows.
template <class V>
void gemv_rows(const float* x, int64_t n_rows, const Q4Matrix& w, const float* bias, float* y) {
  ScratchFrame frame;
  // One tile more than needed: rows a power of two apart would share the same few lines of the nearest cache.
  const int64_t step = (w.col_tiles() + 1) * kTileCols;
  float* ordered = frame.floats(n_rows * step);
  for (int64_t i = 0; i < n_rows; ++i)
    order_row<V>(x + i * w.cols, w.cols, w.col_tiles() * kTileCols, ordered + i * step);
  parallel_for(0, w.row_tiles(), 4, [&](int64_t begin, int64_t end) {
    const typename V::DotTable table = V::dot_table(q4_codebook(w.quant));
    for (int64_t t = begin; t < end; ++t) gemv_blocks<V>(ordered, step, w, table, bias, n_rows, t, y);
  });
}

}  // namespace pocketlora::q4
