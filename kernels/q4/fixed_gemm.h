#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "kernels/common/simd_math.h"

/// Products C += A * B of 16-bit integers on packed operands, for T = FixedAvx2 and its kin (common/fixed_*.h): the
/// counterpart of gemm.h, with two steps of the depth in one multiplication.
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
  const float* scales;  ///< [chunk][row]
  int64_t scale_step;   ///< from one chunk to the next
};

/// One panel of B.
struct Panel {
  const int16_t* values;
  const float* scales;  ///< [chunk][16]
};

constexpr int64_t kPanel = 16;

/// One register tile: kRows rows by one panel. @param c [kRows][ldc], added to.
template <class T, int kRows>
void micro(const Rows& a, const Panel& b, int64_t depth, int64_t chunk, float* c, int64_t ldc) {
  using F = typename T::F;
  constexpr int kVectors = static_cast<int>(kPanel) / T::kLanes;
  constexpr int kPairLanes = 2 * T::kLanes;
  const int16_t *rows = a.values, *columns = b.values;
  const float *row_scales = a.scales, *column_scales = b.scales;
  for (int64_t first = 0; first < depth; first += chunk) {
    typename T::Sums sums[kRows][kVectors];
    PL_UNROLL for (int r = 0; r < kRows; ++r) {
      PL_UNROLL for (int v = 0; v < kVectors; ++v) sums[r][v] = T::no_sums();
    }
    const int64_t end = std::min(first + chunk, depth);
    for (int64_t q = first; q < end; q += 16) {
      PL_UNROLL for (int s = 0; s < 16; s += 2) {
        typename T::I pairs[kVectors];
        PL_UNROLL for (int v = 0; v < kVectors; ++v) pairs[v] = T::load_pairs(columns + s * kPanel + v * kPairLanes);
        PL_UNROLL for (int r = 0; r < kRows; ++r) {
          const typename T::I pair = T::repeat_pair(rows + r * 16 + s);
          PL_UNROLL for (int v = 0; v < kVectors; ++v) sums[r][v] = T::multiply_add(pair, pairs[v], sums[r][v]);
        }
      }
      rows += a.block_step;
      columns += 16 * kPanel;
    }
    // The compiler would keep C in registers that the loop above has no room for.
    asm volatile("" ::: "memory");
    F scales[kVectors];
    PL_UNROLL for (int v = 0; v < kVectors; ++v) scales[v] = T::load(column_scales + v * T::kLanes);
    PL_UNROLL for (int r = 0; r < kRows; ++r) {
      const F scale = T::set1(row_scales[r]);
      PL_UNROLL for (int v = 0; v < kVectors; ++v) {
        float* to = c + r * ldc + v * T::kLanes;
        T::store(to, T::fma(T::mul(T::to_floats(sums[r][v]), scales[v]), scale, T::load(to)));
      }
    }
    row_scales += a.scale_step;
    column_scales += kPanel;
  }
}

/// Chooses the micro kernel of `count` <= kMaxRows at run time.
template <class T, int kMaxRows>
void micro_rows(int64_t count, const Rows& a, const Panel& b, int64_t depth, int64_t chunk, float* c, int64_t ldc) {
  if constexpr (kMaxRows > 1) {
    if (count < kMaxRows) return micro_rows<T, kMaxRows - 1>(count, a, b, depth, chunk, c, ldc);
  }
  micro<T, kMaxRows>(a, b, depth, chunk, c, ldc);
}

/// All rows times one panel, of which `cols` columns are C's. @param c [n_rows][ldc], added to.
template <class T>
void multiply_panel(const Rows& a, int64_t n_rows, const Panel& b, int64_t depth, int64_t chunk, float* c, int64_t ldc,
                    int64_t cols) {
  for (int64_t m = 0; m < n_rows; m += T::kTileRows) {
    const int64_t count = std::min<int64_t>(n_rows - m, T::kTileRows);
    const Rows tile{a.values + m * 16, a.block_step, a.scales + m, a.scale_step};
    float* target = c + m * ldc;
    if (cols >= kPanel) {
      micro_rows<T, T::kTileRows>(count, tile, b, depth, chunk, target, ldc);
      continue;
    }
    float local[T::kTileRows * kPanel] = {};
    for (int64_t r = 0; r < count; ++r) std::copy(target + r * ldc, target + r * ldc + cols, local + r * kPanel);
    micro_rows<T, T::kTileRows>(count, tile, b, depth, chunk, local, kPanel);
    for (int64_t r = 0; r < count; ++r) {
      std::copy(local + r * kPanel, local + r * kPanel + cols, target + r * ldc);
    }
  }
}

}  // namespace pocketlora::fixed_gemm
