#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/common/parallel.h"
#include "kernels/common/scratch.h"
#include "kernels/common/simd_math.h"
#include "kernels/q4/fixed_rows.h"
#include "kernels/q4/gemm.h"
#include "kernels/q4/gemv.h"
#include "kernels/q4/panel_rows.h"
#include "kernels/q4/q4.h"

/// The forward product of 2 to 16 rows in integers where an instruction multiplies two rows of x with two of W, for
/// T = BytesNeonI8mm: the numbers of fixed_rows.h, bit for bit. All rows of x share one decoding.
namespace pocketlora::q4 {

/// Rows of x two by two; an odd last one stands twice. `values` [pairs, step]; `scales` [pairs, scale_step][4]: those
/// of the two rows, twice over.
struct PairedRows {
  const uint8_t* values;
  const float* scales;
  int64_t step, scale_step;
};

/// @param rows as fix_rows<T>() makes them.
template <class T>
PairedRows pair_rows(const FixedRows& rows, int64_t n_rows, const Q4Matrix& w, ScratchFrame& frame) {
  const int64_t pairs = gemm::ceil_div(n_rows, 2), step = 2 * rows.step;
  auto* values = reinterpret_cast<uint8_t*>(frame.floats(pairs * step / static_cast<int64_t>(sizeof(float))));
  float* scales = frame.floats(pairs * rows.scale_step * 4);
  for (int64_t p = 0; p < pairs; ++p) {
    const int64_t first = 2 * p, second = std::min(first + 1, n_rows - 1);
    T::join_rows(rows.values + first * rows.step, rows.values + second * rows.step,
                 w.col_tiles() * kTileCols / kFixedUnit * T::kUnitBytes, values + p * step);
    for (int64_t i = 0; i < rows.scale_step; ++i) {
      float* both = scales + (p * rows.scale_step + i) * 4;
      both[0] = both[2] = rows.scales[first * rows.scale_step + i];
      both[1] = both[3] = rows.scales[second * rows.scale_step + i];
    }
  }
  return {values, scales, step, rows.scale_step};
}

/// out[i][r] = sum over k of x[i][k] * W[16 * row_tile + r][k], i < 2 * kPairs.
template <class T, int kPairs, int kSpan>
void paired_panel(const PairedRows& x, const Q4Matrix& w, const typename T::CodeTable& table, int64_t row_tile,
                  float (*out)[kTileRows]) {
  static_assert(scales_each_span<T> && T::kPairs == 2);
  constexpr int64_t kQuads = kTileRows / 4;
  typename T::F sums[kQuads][kPairs][2];
  for (auto& quad : sums) {
    for (auto& pair : quad) pair[0] = pair[1] = T::zero();
  }
  const int64_t bytes = w.tile_bytes();
  for (int64_t c = 0; c < w.col_tiles(); ++c) {
    const uint8_t* tile = w.tile(row_tile, c);
    const TileScales<T> scales(tile, w.groups_per_tile());
    T::prefetch(tile + 2 * bytes + kCodeBytes);
    for (int64_t k = 0; k < kTileCols; k += kSpan) {
      const uint8_t* columns = x.values + (c * kTileCols + k) / kFixedUnit * T::kUnitBytes * 2;
      const float* x_scales = x.scales + (c * kTileCols + k) / T::kScaleColumns * 4;
      const float* w_scales = scales.values[k / w.group];
      for (int64_t quad = 0; quad < kQuads; ++quad) {
        const uint8_t* line = tile + (k / kLineBytes * 8 + 2 * quad) * kLineBytes;
        T::prefetch(line + 2 * bytes);
        T::prefetch(line + 2 * bytes + kLineBytes);
        typename T::I values[kSpan / kFixedUnit * T::kPairVectors * 2];
        T::template decode<kSpan>(line + k % kLineBytes, table, values);
        const typename T::PairScale scale = T::pair_scale(w_scales + 4 * quad);
        PL_UNROLL for (int i = 0; i < kPairs; ++i) {
          T::template multiply_rows<kSpan>(values, columns + i * x.step, scale, x_scales + i * x.scale_step * 4,
                                           sums[quad][i]);
        }
      }
    }
  }
  for (int64_t quad = 0; quad < kQuads; ++quad) {
    for (int i = 0; i < kPairs; ++i) T::row_sums(sums[quad][i], out[2 * i] + 4 * quad, out[2 * i + 1] + 4 * quad);
  }
}

/// Chooses paired_panel()'s pairs, at most kMost, and columns at run time.
template <class T, int kMost>
void paired_panel_of(int64_t pairs, const PairedRows& x, const Q4Matrix& w, const typename T::CodeTable& table,
                     int64_t row_tile, float (*out)[kTileRows]) {
  if constexpr (kMost > 1) {
    if (pairs < kMost) return paired_panel_of<T, kMost - 1>(pairs, x, w, table, row_tile, out);
  }
  if (w.group < kFixedSpan) return paired_panel<T, kMost, kFixedUnit>(x, w, table, row_tile, out);
  paired_panel<T, kMost, kFixedSpan>(x, w, table, row_tile, out);
}

/// y = x * W^T + bias. @param x [n_rows, w.cols], n_rows at most kGemvRows.
template <class T>
void paired_rows(const float* x, int64_t n_rows, const Q4Matrix& w, const float* bias, float* y) {
  if (n_rows < 2) return fixed_rows<typename T::OneRow>(x, n_rows, w, bias, y);
  ScratchFrame frame;
  const FixedCodebook codebook = fixed_codebook(w.quant, T::kCodeLimit);
  const PairedRows rows = pair_rows<T>(fix_rows<T>(x, n_rows, w, codebook.unit, frame), n_rows, w, frame);
  const int64_t pairs = gemm::ceil_div(n_rows, 2);
  parallel_for(0, w.row_tiles(), 4, [&](int64_t begin, int64_t end) {
    const typename T::CodeTable table = T::code_table(codebook.values);
    float out[kGemvRows][kTileRows];
    for (int64_t t = begin; t < end; ++t) {
      paired_panel_of<T, kGemvRows / 2>(pairs, rows, w, table, t, out);
      const int64_t n = t * kTileRows, real = std::min(kTileRows, w.rows - n);
      for (int64_t i = 0; i < n_rows; ++i) {
        for (int64_t r = 0; r < real; ++r) y[i * w.rows + n + r] = out[i][r] + (bias == nullptr ? 0.0f : bias[n + r]);
      }
    }
  });
}

/// y = x * W^T + bias in T's integers. Parameters as paired_rows().
template <class T>
void byte_rows(const float* x, int64_t n_rows, const Q4Matrix& w, const float* bias, float* y) {
  if constexpr (T::kRowsAtOnce == 2) {
    paired_rows<T>(x, n_rows, w, bias, y);
  } else {
    FewRows<T>::run(x, n_rows, w, bias, y);
  }
}

}  // namespace pocketlora::q4
