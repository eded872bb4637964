#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "kernels/common/parallel.h"
#include "kernels/common/scratch.h"
#include "kernels/q4/decode.h"
#include "kernels/q4/q4.h"

/// The forward product of a few rows in 16-bit integers, for T = FixedAvx2 and its kin (common/fixed_*.h).
///
/// Each kFixedColumns columns of a row become integers of at most 16383 with a scale of their own, and so do the 16
/// values of the scheme. The sums of 64 columns fit 32 bits and are exact; W's scales come in once a group, those of x
/// once in kFixedColumns.
namespace pocketlora::q4 {

/// Columns of x that share a scale.
constexpr int64_t kFixedColumns = 1024;
/// Columns of x that are rounded at once, and the most whose products are summed as integers.
constexpr int64_t kFixedSpan = 64;
/// The largest integer of x, and of a scheme's values: a lane sums 16 products, 16 * 8191 * 16383 < 2^31.
constexpr float kFixedLimit = 16383.0f, kCodeLimit = 8191.0f;

/// A scheme's values as integers, and what one of them is worth.
struct FixedCodebook {
  int16_t values[16];
  float unit;
};

inline FixedCodebook fixed_codebook(Quant quant) {
  const float* values = q4_codebook(quant);
  float largest = 0.0f;
  for (int i = 0; i < 16; ++i) largest = std::max(largest, std::fabs(values[i]));
  // A whole number of units in 1: the integers of int4 are exact.
  const float units = std::floor(kCodeLimit / largest);
  FixedCodebook codebook;
  for (int i = 0; i < 16; ++i) codebook.values[i] = static_cast<int16_t>(std::lrint(values[i] * units));
  codebook.unit = 1.0f / units;
  return codebook;
}

/// Rows of x as integers: `values` [n_rows, step], T::kCopies of each; `scales` [n_rows, scale_step].
struct FixedRows {
  const int16_t* values;
  const float* scales;
  int64_t step, scale_step;
};

/// Rounds `columns` values, at most kFixedColumns, to T::kCopies * `padded` integers. @return the scale: the largest
/// magnitude / kFixedLimit; not finite when a column is not.
template <class T>
float fix_block(const float* x, int64_t columns, int64_t padded, int16_t* out) {
  // Below it, kFixedLimit / largest would overflow; such a row adds nothing that fp32 could hold beside the others.
  constexpr float kSmallest = 1e-30f;
  float rest[kFixedSpan] = {};
  const int64_t whole = columns / kFixedSpan * kFixedSpan;
  std::copy(x + whole, x + columns, rest);
  const auto span = [&](int64_t first) { return first < whole ? x + first : rest; };
  // Compared as integers, a NaN is larger than infinity: it is not lost.
  int32_t bits = 0;
  for (int64_t first = 0; first < columns; first += kFixedSpan) bits = std::max(bits, T::largest_bits(span(first)));
  float largest;
  std::memcpy(&largest, &bits, sizeof(largest));
  const float inverse = largest < kSmallest ? 0.0f : kFixedLimit / largest;
  for (int64_t first = 0; first < padded; first += kFixedSpan, out += T::kCopies * kFixedSpan) {
    if (first < columns) {
      T::quantize(span(first), inverse, out);
    } else {
      std::fill(out, out + T::kCopies * kFixedSpan, int16_t{0});
    }
  }
  return largest < kSmallest ? 0.0f : largest / kFixedLimit;
}

/// @param unit what an integer of the codebook is worth; it goes into the scales.
template <class T>
FixedRows fix_rows(const float* x, int64_t n_rows, const Q4Matrix& w, float unit, ScratchFrame& frame) {
  const int64_t padded = w.col_tiles() * kTileCols;
  // As in gemv_rows: rows a power of two apart would share the same few lines of the nearest cache.
  const int64_t step = T::kCopies * padded + 2 * kFixedSpan;
  const int64_t scale_step = (padded + kFixedColumns - 1) / kFixedColumns;
  auto* values = reinterpret_cast<int16_t*>(frame.floats(n_rows * step / 2));
  float* scales = frame.floats(n_rows * scale_step);
  for (int64_t i = 0; i < n_rows; ++i) {
    for (int64_t block = 0; block < scale_step; ++block) {
      const int64_t first = block * kFixedColumns;
      scales[i * scale_step + block] =
          unit * fix_block<T>(x + i * w.cols + first, std::min(w.cols - first, kFixedColumns),
                              std::min(padded - first, kFixedColumns), values + i * step + T::kCopies * first);
    }
  }
  return {values, scales, step, scale_step};
}

/// The sums of a panel's row pairs with kRows rows of x.
template <class T, int kRows>
using FixedSums = typename T::F[kTileRows / 2][kRows][T::kPairSums];

template <class T, int kRows>
inline void clear(FixedSums<T, kRows>& sums) {
  for (auto& pair : sums) {
    for (auto& row : pair) {
      for (typename T::F& sum : row) sum = T::zero();
    }
  }
}

/// Adds tile `tile` times its columns of x (`x`: those of the first row) to the sums, but for the scales of x.
template <class T, int kRows, int kGroup>
inline void fixed_tile(const uint8_t* tile, int64_t bytes, const typename T::CodeTable& table, const int16_t* x,
                       int64_t x_step, FixedSums<T, kRows>& sums) {
  constexpr int kSpan = kGroup < kFixedSpan ? kGroup : kFixedSpan;
  const TileScales<T> scales(tile, kTileCols / kGroup);
  T::prefetch(tile + 2 * bytes + kCodeBytes);
  for (int64_t k = 0; k < kTileCols; k += kSpan) {
    for (int64_t pair = 0; pair < kTileRows / 2; ++pair) {
      const uint8_t* line = tile + (k / kLineBytes * 8 + pair) * kLineBytes;
      T::prefetch(line + 2 * bytes);
      typename T::I w[kSpan / 32 * T::kPairVectors];
      T::template decode<kSpan>(line + k % kLineBytes, table, w);
      const typename T::PairScale scale = T::pair_scale(scales.values[k / kGroup] + 2 * pair);
      PL_UNROLL for (int i = 0; i < kRows; ++i) {
        T::template multiply<kSpan>(w, x + T::kCopies * k + i * x_step, scale, sums[pair][i]);
      }
    }
  }
}

/// out[i][r] = sum over k of x[i][k] * W[16 * row_tile + r][k].
template <class T, int kRows, int kGroup>
void fixed_panel(const FixedRows& x, const Q4Matrix& w, const typename T::CodeTable& table, int64_t row_tile,
                 float out[kRows][kTileRows]) {
  constexpr int64_t kTiles = kFixedColumns / kTileCols;
  FixedSums<T, kRows> sums, part;
  clear<T, kRows>(sums);
  const int64_t bytes = w.tile_bytes();
  for (int64_t block = 0; block < x.scale_step; ++block) {
    clear<T, kRows>(part);
    const int64_t last = std::min((block + 1) * kTiles, w.col_tiles());
    for (int64_t c = block * kTiles; c < last; ++c) {
      fixed_tile<T, kRows, kGroup>(w.tile(row_tile, c), bytes, table, x.values + T::kCopies * c * kTileCols, x.step,
                                   part);
    }
    for (int i = 0; i < kRows; ++i) {
      const typename T::F scale = T::set1(x.scales[i * x.scale_step + block]);
      for (int64_t pair = 0; pair < kTileRows / 2; ++pair) {
        for (int s = 0; s < T::kPairSums; ++s) sums[pair][i][s] = T::fma(part[pair][i][s], scale, sums[pair][i][s]);
      }
    }
  }
  for (int i = 0; i < kRows; ++i) {
    for (int64_t pair = 0; pair < kTileRows / 2; ++pair) T::pair_sum(sums[pair][i], out[i] + 2 * pair);
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
  const FixedCodebook codebook = fixed_codebook(w.quant);
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
