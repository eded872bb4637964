#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "kernels/common/parallel.h"
#include "kernels/common/scratch.h"
#include "kernels/q4/decode.h"
#include "kernels/q4/q4.h"

/// The forward product of a few rows in 16-bit integers, for T = FixedAvx2 and its kin (common/fixed_*.h).
///
/// Each 64 columns of a row become integers of at most 16383 with a scale of their own, and so do the 16 values of the
/// scheme (T::kCodeLimit). The sums of 64 columns fit 32 bits and are exact; scales come in once a group.
namespace pocketlora::q4 {

/// Columns of x that share a scale.
constexpr int64_t kFixedColumns = 64;
/// The largest integer of x.
constexpr float kFixedLimit = 16383.0f;

/// A scheme's values as integers, and what one of them is worth.
struct FixedCodebook {
  int16_t values[16];
  float unit;
};

template <class T>
FixedCodebook fixed_codebook(Quant quant) {
  const float* values = q4_codebook(quant);
  float largest = 0.0f;
  for (int i = 0; i < 16; ++i) largest = std::max(largest, std::fabs(values[i]));
  // A whole number of units in 1: the integers of int4 are exact.
  const float units = std::floor(T::kCodeLimit / largest);
  FixedCodebook codebook;
  for (int i = 0; i < 16; ++i) codebook.values[i] = static_cast<int16_t>(std::lrint(values[i] * units));
  codebook.unit = 1.0f / units;
  return codebook;
}

/// Rows of x as integers: `values` [n_rows, step], `scales` [n_rows, scale_step], one for each 64 columns.
struct FixedRows {
  const int16_t* values;
  const float* scales;
  int64_t step, scale_step;
};

/// @param unit what an integer of the codebook is worth; it goes into the scales.
template <class T>
FixedRows fix_rows(const float* x, int64_t n_rows, const Q4Matrix& w, float unit, ScratchFrame& frame) {
  // As in gemv_rows: rows a power of two apart would share the same few lines of the nearest cache.
  const int64_t step = (w.col_tiles() + 1) * kTileCols, scale_step = w.col_tiles() * (kTileCols / kFixedColumns);
  auto* values = reinterpret_cast<int16_t*>(frame.floats(n_rows * step / 2));
  float* scales = frame.floats(n_rows * scale_step);
  for (int64_t i = 0; i < n_rows; ++i) {
    const float* row = x + i * w.cols;
    for (int64_t block = 0; block < scale_step; ++block) {
      const int64_t first = block * kFixedColumns;
      int16_t* out = values + i * step + first;
      float* scale = scales + i * scale_step + block;
      if (first + kFixedColumns <= w.cols) {
        *scale = unit * T::quantize(row + first, kFixedLimit, out);
        continue;
      }
      float padded[kFixedColumns] = {};
      for (int64_t k = first; k < w.cols; ++k) padded[k - first] = row[k];
      *scale = unit * T::quantize(padded, kFixedLimit, out);
    }
  }
  return {values, scales, step, scale_step};
}

/// The products' sums, added as a tree.
template <class T, int kVectors>
inline typename T::S fixed_dot(const typename T::I* a, const typename T::I* b) {
  if constexpr (kVectors == 1) {
    return T::dot(*a, *b);
  } else {
    constexpr int kHalf = kVectors / 2;
    return T::add(fixed_dot<T, kHalf>(a, b), fixed_dot<T, kVectors - kHalf>(a + kHalf, b + kHalf));
  }
}

/// Adds kSpan columns of one row pair of W to sums[2][kRows]. @param scale [kRows][16], of W times x.
template <class T, int kRows, int kSpan>
inline void fixed_span(const uint8_t* codes, const typename T::CodeTable& table, const int16_t* x, int64_t x_step,
                       const float* scale, typename T::F* even, typename T::F* odd) {
  constexpr int kUnits = kSpan / 32, kVectors = kUnits * T::kVectors;
  typename T::I a[kVectors], b[kVectors];
  PL_UNROLL for (int unit = 0; unit < kUnits; ++unit) {
    T::decode(codes + 32 * unit, table, a + unit * T::kVectors, b + unit * T::kVectors);
  }
  PL_UNROLL for (int i = 0; i < kRows; ++i) {
    typename T::I xv[kVectors];
    T::template load<kVectors>(x + i * x_step, xv);
    const typename T::S a_sum = fixed_dot<T, kVectors>(a, xv), b_sum = fixed_dot<T, kVectors>(b, xv);
    even[i] = T::add_scaled(a_sum, scale + i * kTileRows, even[i]);
    odd[i] = T::add_scaled(b_sum, scale + i * kTileRows + 1, odd[i]);
  }
}

/// out[i][r] = sum over k of x[i][k] * W[16 * row_tile + r][k].
template <class T, int kRows, int kGroup>
void fixed_panel(const FixedRows& x, const Q4Matrix& w, const typename T::CodeTable& table, int64_t row_tile,
                 float out[kRows][kTileRows]) {
  constexpr int64_t kSpan = kGroup < kFixedColumns ? kGroup : kFixedColumns;
  typename T::F sums[kTileRows][kRows];
  for (auto& row : sums) {
    for (typename T::F& sum : row) sum = T::zero();
  }
  const int64_t bytes = w.tile_bytes();
  const uint8_t* tile = w.tile(row_tile, 0);
  for (int64_t c = 0; c < w.col_tiles(); ++c, tile += bytes) {
    const TileScales<T> scales(tile, kTileCols / kGroup);
    T::prefetch(tile + 2 * bytes + kCodeBytes);
    for (int64_t k = 0; k < kTileCols; k += kSpan) {
      const int64_t column = c * kTileCols + k;
      float scale[kRows][kTileRows];
      for (int i = 0; i < kRows; ++i) {
        // By hand: the compiler would take a vector of rows of x, and scatter it.
        const typename T::F of_x = T::set1(x.scales[i * x.scale_step + column / kFixedColumns]);
        for (int64_t r = 0; r < kTileRows; r += T::kLanes) {
          T::store(scale[i] + r, T::mul(of_x, T::load(scales.values[k / kGroup] + r)));
        }
      }
      for (int64_t pair = 0; pair < kTileRows / 2; ++pair) {
        const uint8_t* line = tile + (k / kLineBytes * 8 + pair) * kLineBytes;
        T::prefetch(line + 2 * bytes);
        fixed_span<T, kRows, kSpan>(line + k % kLineBytes, table, x.values + column, x.step, &scale[0][2 * pair],
                                    sums[2 * pair], sums[2 * pair + 1]);
      }
    }
  }
  for (int i = 0; i < kRows; ++i) {
    for (int64_t r = 0; r < kTileRows; ++r) out[i][r] = T::sum(sums[r][i]);
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
  const FixedCodebook codebook = fixed_codebook<T>(w.quant);
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
