#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "kernels/common/simd_math.h"

/// Products C += A * B of 16-bit integers on packed operands, for T = FixedAvx2::Many and its kin (common/fixed_*.h):
/// the counterpart of gemm.h, with two steps of the depth in one multiplication.
///
///   A  row blocks      a[depth / 16][rows][16]
///   B  panels of 16    b[panel][depth / 2][16 columns][2 depths]
///
/// The depth is a multiple of 16 and is cut in chunks. Each row of A and each column of B has a scale in each chunk.
/// The sum of a chunk is exact in 32 bits where
///   sum over the chunk of |a| * |b| < 2^31
/// which is what the operands are rounded for (fixed_operands.h); fp32 comes in once a chunk, in the order of the
/// depth.
namespace pocketlora::fixed_gemm {

/// Rows of A, from the first one of a tile.
struct Rows {
  const int16_t* values;
  int64_t block_step;   ///< elements from one block of 16 depths to the next
  int64_t tile_step;    ///< from one tile of T::kTileRows rows to the next
  const float* scales;  ///< [chunk][row]
  int64_t scale_step;   ///< from one chunk to the next
};

/// Panels of B, from the first one of a tile.
struct Panels {
  const int16_t* values;
  int64_t step;         ///< elements from one panel to the next
  const float* scales;  ///< [chunk][16] of each panel
  int64_t scale_step;   ///< from one panel to the next
};

constexpr int64_t kPanel = 16;

/// One register tile: kRows rows by kPanels panels. @param c [kRows][ldc], added to.
template <class T, int kRows, int kPanels>
__attribute__((noinline)) void micro(const Rows& a, const Panels& b, int64_t depth, int64_t chunk, float* c,
                                     int64_t ldc) {
  using F = typename T::F;
  constexpr int kPerPanel = static_cast<int>(kPanel) / T::kLanes, kVectors = kPanels * kPerPanel;
  constexpr int kPairLanes = 2 * T::kLanes;
  const int16_t *rows = a.values, *columns = b.values;
  const float *row_scales = a.scales, *column_scales = b.scales;
  const int64_t block_step = a.block_step, scale_step = a.scale_step, panel_step = b.step;
  for (int64_t first = 0; first < depth; first += chunk) {
    typename T::Sums sums[kRows][kVectors];
    PL_UNROLL for (int r = 0; r < kRows; ++r) {
      PL_UNROLL for (int v = 0; v < kVectors; ++v) sums[r][v] = T::no_sums();
    }
    const int64_t end = std::min(first + chunk, depth);
    for (int64_t q = first; q < end; q += 16) {
      PL_UNROLL for (int s = 0; s < 16; s += 2) {
        typename T::I pairs[kVectors];
        PL_UNROLL for (int v = 0; v < kVectors; ++v) {
          pairs[v] = T::load_pairs(columns + v / kPerPanel * panel_step + s * kPanel + v % kPerPanel * kPairLanes);
        }
        PL_UNROLL for (int r = 0; r < kRows; ++r) {
          const typename T::I pair = T::repeat_pair(rows + r * 16 + s);
          PL_UNROLL for (int v = 0; v < kVectors; ++v) sums[r][v] = T::multiply_add(pair, pairs[v], sums[r][v]);
        }
      }
      rows += block_step;
      columns += 16 * kPanel;
    }
    F scales[kVectors];
    PL_UNROLL for (int v = 0; v < kVectors; ++v) {
      scales[v] = T::load(column_scales + v / kPerPanel * b.scale_step + v % kPerPanel * T::kLanes);
    }
    PL_UNROLL for (int r = 0; r < kRows; ++r) {
      const F scale = T::set1(row_scales[r]);
      PL_UNROLL for (int v = 0; v < kVectors; ++v) {
        float* to = c + r * ldc + v * T::kLanes;
        // The scales' product does not wait for the sums.
        T::store(to, T::fma(T::to_floats(sums[r][v]), T::mul(scales[v], scale), T::load(to)));
      }
    }
    // GCC would copy C to the stack and work on it there.
    asm volatile("" ::: "memory");
    row_scales += scale_step;
    column_scales += kPanel;
  }
}

/// Chooses the micro kernel of `count` <= kMaxRows at run time.
template <class T, int kMaxRows, int kPanels>
void micro_rows(int64_t count, const Rows& a, const Panels& b, int64_t depth, int64_t chunk, float* c, int64_t ldc) {
  if constexpr (kMaxRows > 1) {
    if (count < kMaxRows) return micro_rows<T, kMaxRows - 1, kPanels>(count, a, b, depth, chunk, c, ldc);
  }
  micro<T, kMaxRows, kPanels>(a, b, depth, chunk, c, ldc);
}

/// C += A * B. @param c panel `p` at c + p * c_panel, rows `ldc` apart; those of a register tile are neighbours.
template <class T>
void multiply(const Rows& a, int64_t n_rows, const Panels& b, int64_t panels, int64_t depth, int64_t chunk, float* c,
              int64_t ldc, int64_t c_panel) {
  constexpr int kPanels = T::kTilePanels;
  for (int64_t p = 0; p < panels; p += kPanels) {
    const Panels columns{b.values + p * b.step, b.step, b.scales + p * b.scale_step, b.scale_step};
    for (int64_t m = 0; m < n_rows; m += T::kTileRows) {
      const int64_t count = std::min<int64_t>(n_rows - m, T::kTileRows);
      const Rows rows{a.values + m / T::kTileRows * a.tile_step, a.block_step, a.tile_step, a.scales + m, a.scale_step};
      float* target = c + p * c_panel + m * ldc;
      if (kPanels > 1 && p + 1 == panels) {
        micro_rows<T, T::kTileRows, 1>(count, rows, columns, depth, chunk, target, ldc);
      } else {
        micro_rows<T, T::kTileRows, kPanels>(count, rows, columns, depth, chunk, target, ldc);
      }
    }
  }
}

}  // namespace pocketlora::fixed_gemm
