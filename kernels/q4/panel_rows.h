#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "kernels/common/parallel.h"
#include "kernels/common/scratch.h"
#include "kernels/q4/fixed_rows.h"
#include "kernels/q4/gemv.h"
#include "kernels/q4/q4.h"

/// The forward product of a few rows in integers where a vector holds all rows of a panel of W, for
/// T = BytesAvx512Vnni and its kin: the same numbers as fixed_rows.h, without a sum to convert for each pair of rows.
/// All rows of x share one decoding.
namespace pocketlora::q4 {

/// How many tiles ahead lines are asked for: panels follow each other in memory, and beyond the matrix it does nothing.
constexpr int64_t kTilesAhead = 3;

/// Adds a tile times its columns of x to the sums. @param x the first row's integers at the tile's columns.
/// @param x_scales the same of its scales; unused where multiply() leaves them out. @param bytes of a tile.
template <class T, int kColumns>
inline void add_tile(const uint8_t* tile, int64_t bytes, int64_t group, const typename T::CodeTable& table,
                     const uint8_t* x, const float* x_scales, const FixedRows& rows, int64_t n_rows,
                     typename T::Sums* sums) {
  typename T::Scales scales;
  const uint8_t* halves = tile + kCodeBytes;
  // Both ends of a tile first, then its lines between the work: measured against other orders, and against all at once.
  const uint8_t* ahead = tile + kTilesAhead * bytes;
  T::prefetch(ahead);
  T::prefetch(ahead + kCodeBytes);
  for (int64_t k = 0; k < kTileCols; k += kColumns) {
    const uint8_t* codes = tile + k / kLineBytes * 8 * kLineBytes + k % kLineBytes;
    if ((k & (group - 1)) == 0) {
      scales = T::scales(halves);
      halves += 2 * kTileRows;
    }
    for (int line = 0; line < kColumns / 8; ++line) {
      T::prefetch(ahead + (k / 8 + line) * kLineBytes);
    }
    const typename T::template Weights<kColumns> weights(codes, table);
    const uint8_t* columns = x + k / kFixedUnit * T::kUnitBytes;
    for (int64_t i = 0; i < n_rows; ++i) {
      const float x_scale = scales_each_span<T> ? x_scales[i * rows.scale_step + k / T::kScaleColumns] : 1.0f;
      T::template multiply<kColumns>(weights, columns + i * rows.step, scales, x_scale, sums[i]);
    }
  }
}

/// out[i][r] = sum over k of x[i][k] * W[16 * row_tile + r][k]. @param kRows rows of x, or 0: any number, n_rows.
template <class T, int kRows, int kColumns>
void panel_sums(const FixedRows& x, int64_t n_rows, const Q4Matrix& w, const typename T::CodeTable& table,
                int64_t row_tile, float (*out)[kTileRows]) {
  constexpr int kMost = kRows > 0 ? kRows : static_cast<int>(kGemvRows);
  const int64_t count = kRows > 0 ? kRows : n_rows;
  typename T::Sums sums[kMost];
  for (int64_t i = 0; i < count; ++i) sums[i] = T::no_sums();
  const uint8_t* panel = w.tile(row_tile, 0);
  const int64_t bytes = w.tile_bytes();
  const auto add = [&](int64_t c, typename T::Sums* to) {
    add_tile<T, kColumns>(panel + c * bytes, bytes, w.group, table,
                          x.values + c * (kTileCols / kFixedUnit) * T::kUnitBytes,
                          x.scales + c * kTileCols / T::kScaleColumns, x, count, to);
  };
  if constexpr (scales_each_span<T>) {
    for (int64_t c = 0; c < w.col_tiles(); ++c) add(c, sums);
  } else {
    constexpr int64_t kTiles = T::kScaleColumns / kTileCols;
    typename T::Sums part[kMost];
    for (int64_t block = 0; block < x.scale_step; ++block) {
      for (int64_t i = 0; i < count; ++i) part[i] = T::no_sums();
      const int64_t last = std::min((block + 1) * kTiles, w.col_tiles());
      for (int64_t c = block * kTiles; c < last; ++c) add(c, part);
      for (int64_t i = 0; i < count; ++i) {
        sums[i] = T::scaled(part[i], T::set1(x.scales[i * x.scale_step + block]), sums[i]);
      }
    }
  }
  for (int64_t i = 0; i < count; ++i) T::store_sums(sums[i], out[i]);
}

/// Chooses panel_sums's columns at run time.
template <class T, int kRows>
void panel_sums_of(const FixedRows& x, int64_t n_rows, const Q4Matrix& w, const typename T::CodeTable& table,
                   int64_t row_tile, float (*out)[kTileRows]) {
  if (T::kMostColumns == kFixedUnit || w.group == kFixedUnit) {
    return panel_sums<T, kRows, kFixedUnit>(x, n_rows, w, table, row_tile, out);
  }
  panel_sums<T, kRows, T::kMostColumns>(x, n_rows, w, table, row_tile, out);
}

/// y = x * W^T + bias. @param x [n_rows, w.cols], n_rows at most kGemvRows.
template <class T>
void panel_rows(const float* x, int64_t n_rows, const Q4Matrix& w, const float* bias, float* y) {
  ScratchFrame frame;
  const FixedCodebook codebook = fixed_codebook(w.quant, T::kCodeLimit);
  const FixedRows rows = fix_rows<T>(x, n_rows, w, codebook.unit, frame);
  parallel_for(0, w.row_tiles(), 4, [&](int64_t begin, int64_t end) {
    const typename T::CodeTable table = T::code_table(codebook.values);
    float out[kGemvRows][kTileRows];
    for (int64_t t = begin; t < end; ++t) {
      if (n_rows == 1) {
        panel_sums_of<T, 1>(rows, n_rows, w, table, t, out);
      } else {
        panel_sums_of<T, 0>(rows, n_rows, w, table, t, out);
      }
      const int64_t n = t * kTileRows, real = std::min(kTileRows, w.rows - n);
      for (int64_t i = 0; i < n_rows; ++i) {
        for (int64_t r = 0; r < real; ++r) y[i * w.rows + n + r] = out[i][r] + (bias == nullptr ? 0.0f : bias[n + r]);
      }
    }
  });
}

/// y = x * W^T + bias in T's integers. Where T names a type for few rows, that works on whole panels.
template <class T, class = void>
struct FewRows {
  static void run(const float* x, int64_t n_rows, const Q4Matrix& w, const float* bias, float* y) {
    fixed_rows<T>(x, n_rows, w, bias, y);
  }
};
template <class T>
struct FewRows<T, std::void_t<typename T::Few>> {
  static void run(const float* x, int64_t n_rows, const Q4Matrix& w, const float* bias, float* y) {
    panel_rows<typename T::Few>(x, n_rows, w, bias, y);
  }
};

}  // namespace pocketlora::q4
