#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/common/simd_math.h"

/// Products C (+)= A * B of bf16 on packed operands with sums in fp32, for T = ManyBf16Amx and its kin
/// (common/many_bf16_*.h): the counterpart of gemm.h for matrix units.
///
///   A  row blocks      a[depth / 32][rows][32], the layout of one block of 32 depths and T::kRowsAtOnce rows being T's
///   B  panels of 16    b[panel][depth / T::kDepth][16 columns][T::kDepth]
///
/// The depth is a whole number of chunks of 32, the rows one of T::kRowsAtOnce. Element (m, p) of C is summed over the
/// depth in order, whatever the tile it lies in.
namespace pocketlora::bf16_gemm {

constexpr int64_t kPanel = 16;
constexpr int64_t kChunk = 32;

/// Rows of A, or from a multiple of T::kRowsAtOnce on.
struct Rows {
  const uint16_t* values;
  int64_t rows;  ///< of all of A: from one chunk to the next
};

/// Panels of B.
struct Panels {
  const uint16_t* values;
  int64_t step;  ///< elements from one panel to the next
};

/// Chooses T's register tile of `blocks` <= kMaxBlocks times T::kRowsAtOnce rows at run time.
template <class T, int kMaxBlocks, int kPanels>
void micro_rows(int64_t blocks, const Rows& a, const Panels& b, int64_t chunks, float* c, int64_t ldc,
                bool accumulate) {
  if constexpr (kMaxBlocks > 1) {
    if (blocks < kMaxBlocks) {
      return micro_rows<T, kMaxBlocks - 1, kPanels>(blocks, a, b, chunks, c, ldc, accumulate);
    }
  }
  T::template multiply<kMaxBlocks, kPanels>(a.values, a.rows * kChunk, b.values, b.step, chunks, c, ldc, accumulate);
}

/// C [a.rows, 16 * n_panels] (+)= A * B. @param chunks of the depth.
template <class T>
void multiply(const Rows& a, const Panels& b, int64_t n_panels, int64_t chunks, float* c, int64_t ldc,
              bool accumulate) {
  constexpr int kBlocks = T::kRegisterRows / T::kRowsAtOnce, kPanels = T::kRegisterPanels;
  const typename T::Unit unit;
  for (int64_t p = 0; p < n_panels; p += kPanels) {
    const Panels panels{b.values + p * b.step, b.step};
    for (int64_t m = 0; m < a.rows; m += T::kRegisterRows) {
      const Rows rows{a.values + m * kChunk, a.rows};
      const int64_t blocks = std::min<int64_t>((a.rows - m) / T::kRowsAtOnce, kBlocks);
      float* target = c + m * ldc + p * kPanel;
      if (n_panels - p >= kPanels) {
        micro_rows<T, kBlocks, kPanels>(blocks, rows, panels, chunks, target, ldc, accumulate);
      } else {
        micro_rows<T, kBlocks, 1>(blocks, rows, panels, chunks, target, ldc, accumulate);
      }
    }
  }
}

}  // namespace pocketlora::bf16_gemm
