#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "kernels/common/parallel.h"
#include "kernels/common/scratch.h"
#include "kernels/q4/decode.h"
#include "kernels/q4/q4.h"

/// The forward product of a few rows in integers, for T = FixedAvx2 or BytesAvx2 and their kin (common/fixed_*.h,
/// common/bytes_*.h).
///
/// Each T::kScaleColumns columns of a row become integers of at most T::kValueLimit with a scale of their own, and the
/// 16 values of the scheme become integers of at most T::kCodeLimit. The sums of 64 columns are exact; W's scales come
/// in once a group, those of x with them or once in T::kScaleColumns, where these are more than a span.
namespace pocketlora::q4 {

/// Columns of x that are rounded at once, and the most whose products are summed as integers.
constexpr int64_t kFixedSpan = 64;
/// Columns of one unit of T's integers: the smallest group.
constexpr int64_t kFixedUnit = 32;

/// A scheme's values as integers, and what one of them is worth.
struct FixedCodebook {
  int16_t values[16];
  float unit;
};

/// @param limit the largest integer.
inline FixedCodebook fixed_codebook(Quant quant, float limit) {
  const float* values = q4_codebook(quant);
  float largest = 0.0f;
  for (int i = 0; i < 16; ++i) largest = std::max(largest, std::fabs(values[i]));
  // A whole number of units in 1: the integers of int4 are exact.
  const float units = std::floor(limit / largest);
  FixedCodebook codebook;
  for (int i = 0; i < 16; ++i) codebook.values[i] = static_cast<int16_t>(std::lrint(values[i] * units));
  codebook.unit = 1.0f / units;
  return codebook;
}

/// Rows of x as integers: `values` [n_rows, step], units of T::kUnitBytes; `scales` [n_rows, scale_step].
struct FixedRows {
  const uint8_t* values;
  const float* scales;
  int64_t step, scale_step;
};

/// Rounds `columns` values, at most T::kScaleColumns, to `padded` integers. @return the scale: the largest magnitude /
/// T::kValueLimit; not finite when a column is not.
template <class T>
float fix_block(const float* x, int64_t columns, int64_t padded, uint8_t* out) {
  // Below it, the limit / largest would overflow; such a row adds nothing that fp32 could hold beside the others.
  constexpr float kSmallest = 1e-30f;
  float rest[kFixedSpan] = {};
  constexpr int64_t kSpanBytes = kFixedSpan / kFixedUnit * T::kUnitBytes;
  const int64_t whole = columns / kFixedSpan * kFixedSpan;
  std::copy(x + whole, x + columns, rest);
  const auto span = [&](int64_t first) { return first < whole ? x + first : rest; };
  // Compared as integers, a NaN is larger than infinity: it is not lost.
  int32_t bits = 0;
  for (int64_t first = 0; first < columns; first += kFixedSpan) bits = std::max(bits, T::largest_bits(span(first)));
  float largest;
  std::memcpy(&largest, &bits, sizeof(largest));
  const float inverse = largest < kSmallest ? 0.0f : T::kValueLimit / largest;
  for (int64_t first = 0; first < padded; first += kFixedSpan, out += kSpanBytes) {
    if (first < columns) {
      T::quantize(span(first), inverse, out);
    } else {
      std::memset(out, 0, kSpanBytes);
    }
  }
  return largest < kSmallest ? 0.0f : largest / T::kValueLimit;
}

/// @param unit what an integer of the codebook is worth; it goes into the scales.
template <class T>
FixedRows fix_rows(const float* x, int64_t n_rows, const Q4Matrix& w, float unit, ScratchFrame& frame) {
  const int64_t padded = w.col_tiles() * kTileCols;
  // As in gemv_rows: rows a power of two apart would share the same few lines of the nearest cache.
  const int64_t step = padded / kFixedUnit * T::kUnitBytes + 256;
  const int64_t scale_step = gemm::ceil_div(padded, T::kScaleColumns);
  auto* values = reinterpret_cast<uint8_t*>(frame.floats(n_rows * step / static_cast<int64_t>(sizeof(float))));
  float* scales = frame.floats(n_rows * scale_step);
  for (int64_t i = 0; i < n_rows; ++i) {
    for (int64_t block = 0; block < scale_step; ++block) {
      const int64_t first = block * T::kScaleColumns;
      // Where the last tile is mostly padding, a block may have no column.
      const int64_t columns = std::clamp<int64_t>(w.cols - first, 0, T::kScaleColumns);
      scales[i * scale_step + block] = unit * fix_block<T>(x + i * w.cols + std::min(first, w.cols), columns,
                                                           std::min(padded - first, T::kScaleColumns),
                                                           values + i * step + first / kFixedUnit * T::kUnitBytes);
    }
  }
  return {values, scales, step, scale_step};
}

/// Whether x has a scale for each span: multiply() takes it.
template <class T>
constexpr bool scales_each_span = T::kScaleColumns <= kFixedSpan;

/// The sums of a panel's row pairs with kRows rows of x.
template <class T, int kRows>
using FixedSums = typename T::F[kTileRows / 2 / T::kPairs][kRows][T::kPairSums];

template <class T, int kRows>
inline void clear(FixedSums<T, kRows>& sums) {
  for (auto& pair : sums) {
    for (auto& row : pair) {
      for (typename T::F& sum : row) sum = T::zero();
    }
  }
}

/// Adds a tile times its columns of x to the sums. @param x the first row's integers at the tile's columns.
/// @param x_scales the same of its scales; unused where multiply() leaves them out. @param bytes of a tile.
template <class T, int kRows, int kGroup>
inline void fixed_tile(const uint8_t* tile, int64_t bytes, const typename T::CodeTable& table, const uint8_t* x,
                       const float* x_scales, const FixedRows& rows, FixedSums<T, kRows>& sums) {
  constexpr int kSpan = kGroup < kFixedSpan ? kGroup : kFixedSpan;
  const TileScales<T> scales(tile, kTileCols / kGroup);
  T::prefetch(tile + 2 * bytes + kCodeBytes);
  for (int64_t k = 0; k < kTileCols; k += kSpan) {
    const uint8_t* columns = x + k / kFixedUnit * T::kUnitBytes;
    for (int64_t pair = 0; pair < kTileRows / 2; pair += T::kPairs) {
      const uint8_t* line = tile + (k / kLineBytes * 8 + pair) * kLineBytes;
      for (int p = 0; p < T::kPairs; ++p) T::prefetch(line + p * kLineBytes + 2 * bytes);
      typename T::I w[kSpan / kFixedUnit * T::kPairVectors * T::kPairs];
      T::template decode<kSpan>(line + k % kLineBytes, table, w);
      const typename T::PairScale scale = T::pair_scale(scales.values[k / kGroup] + 2 * pair);
      PL_UNROLL for (int i = 0; i < kRows; ++i) {
        const float x_scale = scales_each_span<T> ? x_scales[i * rows.scale_step + k / T::kScaleColumns] : 1.0f;
        T::template multiply<kSpan>(w, columns + i * rows.step, scale, x_scale, sums[pair / T::kPairs][i]);
      }
    }
  }
}

/// out[i][r] = sum over k of x[i][k] * W[16 * row_tile + r][k].
template <class T, int kRows, int kGroup>
void fixed_panel(const FixedRows& x, const Q4Matrix& w, const typename T::CodeTable& table, int64_t row_tile,
                 float out[kRows][kTileRows]) {
  FixedSums<T, kRows> sums;
  clear<T, kRows>(sums);
  const int64_t bytes = w.tile_bytes();
  const auto add_tile = [&](int64_t c, FixedSums<T, kRows>& to) {
    fixed_tile<T, kRows, kGroup>(w.tile(row_tile, c), bytes, table,
                                 x.values + c * (kTileCols / kFixedUnit) * T::kUnitBytes,
                                 x.scales + c * kTileCols / T::kScaleColumns, x, to);
  };
  if constexpr (scales_each_span<T>) {
    for (int64_t c = 0; c < w.col_tiles(); ++c) add_tile(c, sums);
  } else {
    constexpr int64_t kTiles = T::kScaleColumns / kTileCols;
    FixedSums<T, kRows> part;
    for (int64_t block = 0; block < x.scale_step; ++block) {
      clear<T, kRows>(part);
      const int64_t last = std::min((block + 1) * kTiles, w.col_tiles());
      for (int64_t c = block * kTiles; c < last; ++c) add_tile(c, part);
      for (int i = 0; i < kRows; ++i) {
        const typename T::F scale = T::set1(x.scales[i * x.scale_step + block]);
        for (int64_t p = 0; p < kTileRows / 2 / T::kPairs; ++p) {
          for (int s = 0; s < T::kPairSums; ++s) sums[p][i][s] = T::fma(part[p][i][s], scale, sums[p][i][s]);
        }
      }
    }
  }
  for (int i = 0; i < kRows; ++i) {
    for (int64_t p = 0; p < kTileRows / 2 / T::kPairs; ++p) T::pair_sum(sums[p][i], out[i] + 2 * T::kPairs * p);
  }
}

/// y = x * W^T + bias for rows [first, first + kRows) of x and one panel of W.
template <class T, int kRows>
void fixed_block(const FixedRows& all, const Q4Matrix& w, const typename T::CodeTable& table, const float* bias,
                 int64_t first, int64_t row_tile, float* y) {
  const FixedRows x{all.values + first * all.step, all.scales + first * all.scale_step, all.step, all.scale_step};
  float out[kRows][kTileRows];
  switch (w.group) {
    case 32:
      fixed_panel<T, kRows, 32>(x, w, table, row_tile, out);
      break;
    case 64:
      fixed_panel<T, kRows, 64>(x, w, table, row_tile, out);
      break;
    default:
      fixed_panel<T, kRows, 128>(x, w, table, row_tile, out);
  }
  const int64_t n = row_tile * kTileRows;
  for (int64_t r = 0; r < kTileRows && n + r < w.rows; ++r) {
    const float add = bias == nullptr ? 0.0f : bias[n + r];
    for (int64_t i = 0; i < kRows; ++i) y[(first + i) * w.rows + n + r] = out[i][r] + add;
  }
}

/// y = x * W^T + bias. @param x [n_rows, w.cols], n_rows at most kGemvRows.
template <class T>
void fixed_rows(const float* x, int64_t n_rows, const Q4Matrix& w, const float* bias, float* y) {
  ScratchFrame frame;
  const FixedCodebook codebook = fixed_codebook(w.quant, T::kCodeLimit);
  const FixedRows rows = fix_rows<T>(x, n_rows, w, codebook.unit, frame);
  parallel_for(0, w.row_tiles(), 4, [&](int64_t begin, int64_t end) {
    const typename T::CodeTable table = T::code_table(codebook.values);
    for (int64_t t = begin; t < end; ++t) {
      int64_t i = 0;
      for (; i + 8 <= n_rows; i += 8) fixed_block<T, 8>(rows, w, table, bias, i, t, y);
      for (; i + 4 <= n_rows; i += 4) fixed_block<T, 4>(rows, w, table, bias, i, t, y);
      for (; i + 2 <= n_rows; i += 2) fixed_block<T, 2>(rows, w, table, bias, i, t, y);
      if (i < n_rows) fixed_block<T, 1>(rows, w, table, bias, i, t, y);
    }
  });
}

}  // namespace pocketlora::q4
