#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/common/simd_math.h"

/// Products C += A * B of 8-bit integers on packed operands, for T = ManyBytesAvx512Vnni and its kin
/// (common/many_bytes_*.h): the counterpart of gemm.h, with kDepth = T::kDepth steps of the depth in one
/// multiplication.
///
///   A  row blocks      a[depth / kChunk][rows][kChunk], or where T multiplies two rows at once
///                      a[depth / kChunk][rows / 2][kChunk / kDepth][2 rows][kDepth]
///   B  panels of 16    b[panel][depth / kDepth][16 columns][kDepth]
///
/// The depth is a whole number of chunks, of 32 or 64. Each row of A and each column of B has a scale in each chunk.
/// The sum of a chunk is exact in 32 bits; fp32 comes in once a chunk, in the order of the depth. One operand is W,
/// with T::kOffset added to its integers; the other one comes with -T::kOffset times the sum of each chunk, to begin
/// with, unless kOffset is 0.
namespace pocketlora::bytes_gemm {

constexpr int64_t kPanel = 16;

/// Rows of A, from the first one of a tile.
struct Rows {
  const uint8_t* values;
  const float* scales;   ///< [chunk][row]
  const int32_t* begin;  ///< [chunk][row]; unused where A is W
  int64_t rows;          ///< of all of A: from one chunk to the next; a multiple of T::kRowsAtOnce
};

/// Panels of B.
struct Panels {
  const uint8_t* values;
  const float* scales;   ///< [panel][chunk][16]
  const int32_t* begin;  ///< likewise; unused where B is W
  int64_t value_step;    ///< bytes from one panel to the next
  int64_t scale_step;    ///< elements from one panel to the next

  Panels from(int64_t panel) const {
    return {values + panel * value_step, scales + panel * scale_step,
            begin == nullptr ? nullptr : begin + panel * scale_step, value_step, scale_step};
  }
};

/// One register tile: kRows rows by kPanels panels. @param kRowsAreW which operand W is. @param c [kRows][ldc].
template <class T, bool kRowsAreW, int64_t kChunk, int kRows, int kPanels>
void micro(const Rows& a, const Panels& b, int64_t chunks, float* c, int64_t ldc, bool accumulate) {
  constexpr int kPerPanel = static_cast<int>(kPanel) / T::kLanes, kVectors = kPanels * kPerPanel;
  typename T::F sums[kRows][kVectors];
  PL_UNROLL for (int r = 0; r < kRows; ++r) {
    PL_UNROLL for (int v = 0; v < kVectors; ++v) sums[r][v] =
        accumulate ? T::load(c + r * ldc + v * T::kLanes) : T::zero();
  }
  const uint8_t *rows = a.values, *columns = b.values;
  for (int64_t i = 0; i < chunks; ++i, rows += a.rows * kChunk) {
    typename T::Sums products[kRows][kVectors];
    PL_UNROLL for (int r = 0; r < kRows; ++r) {
      PL_UNROLL for (int v = 0; v < kVectors; ++v) {
        products[r][v] =
            kRowsAreW ? T::load_sums(b.begin + v / kPerPanel * b.scale_step + i * kPanel + v % kPerPanel * T::kLanes)
                      : T::set_sums(a.begin[i * a.rows + r]);
      }
    }
    for (int64_t q = 0; q < kChunk; q += 4, columns += 4 * kPanel) {
      typename T::I four[kVectors];
      PL_UNROLL for (int v = 0; v < kVectors; ++v) {
        four[v] = T::load_bytes(columns + v / kPerPanel * b.value_step + v % kPerPanel * 4 * T::kLanes);
      }
      PL_UNROLL for (int r = 0; r < kRows; ++r) {
        const typename T::I row = T::repeat(rows + r * kChunk + q);
        PL_UNROLL for (int v = 0; v < kVectors; ++v) {
          products[r][v] =
              kRowsAreW ? T::multiply_add(row, four[v], products[r][v]) : T::multiply_add(four[v], row, products[r][v]);
        }
      }
    }
    typename T::F scales[kVectors];
    PL_UNROLL for (int v = 0; v < kVectors; ++v) {
      scales[v] = T::load(b.scales + v / kPerPanel * b.scale_step + i * kPanel + v % kPerPanel * T::kLanes);
    }
    PL_UNROLL for (int r = 0; r < kRows; ++r) {
      const typename T::F scale = T::set1(a.scales[i * a.rows + r]);
      PL_UNROLL for (int v = 0; v < kVectors; ++v) {
        sums[r][v] = T::fma(T::mul(T::to_floats(products[r][v]), scales[v]), scale, sums[r][v]);
      }
    }
  }
  PL_UNROLL for (int r = 0; r < kRows; ++r) {
    PL_UNROLL for (int v = 0; v < kVectors; ++v) T::store(c + r * ldc + v * T::kLanes, sums[r][v]);
  }
}

/// The same, one panel wide, for T whose registers hold the sums of a chunk but not those of C besides: C takes them
/// after each chunk.
template <class T, int64_t kChunk, int kRows>
void micro_by_chunks(const Rows& a, const Panels& b, int64_t chunks, float* c, int64_t ldc, bool accumulate) {
  static_assert(T::kOffset == 0, "these sums begin with 0");
  constexpr int kVectors = static_cast<int>(kPanel) / T::kLanes;
  for (int r = 0; r < kRows && !accumulate; ++r) std::fill_n(c + r * ldc, kPanel, 0.0f);
  // Copies: what is stored to C might change what a reference refers to.
  const int64_t all_rows = a.rows;
  const uint8_t *rows = a.values, *columns = b.values;
  const float *row_scales = a.scales, *column_scales = b.scales;
  for (int64_t i = 0; i < chunks; ++i, rows += all_rows * kChunk, columns += kPanel * kChunk) {
    typename T::Sums products[kRows][kVectors];
    T::template multiply_chunk<kChunk, kRows>(rows, columns, products);
    typename T::F scales[kVectors];
    PL_UNROLL for (int v = 0; v < kVectors; ++v) scales[v] = T::load(column_scales + i * kPanel + v * T::kLanes);
    PL_UNROLL for (int r = 0; r < kRows; ++r) {
      const typename T::F scale = T::set1(row_scales[i * all_rows + r]);
      PL_UNROLL for (int v = 0; v < kVectors; ++v) {
        float* target = c + r * ldc + v * T::kLanes;
        T::store(target, T::fma(T::mul(T::to_floats(products[r][v]), scales[v]), scale, T::load(target)));
      }
    }
  }
}

/// Chooses the micro kernel of `count` <= kMaxRows at run time.
template <class T, bool kRowsAreW, int64_t kChunk, int kMaxRows, int kPanels>
void micro_rows(int64_t count, const Rows& a, const Panels& b, int64_t chunks, float* c, int64_t ldc, bool accumulate) {
  if constexpr (kMaxRows > 1) {
    if (count < kMaxRows) {
      return micro_rows<T, kRowsAreW, kChunk, kMaxRows - 1, kPanels>(count, a, b, chunks, c, ldc, accumulate);
    }
  }
  if constexpr (T::kSumsStay) {
    micro<T, kRowsAreW, kChunk, kMaxRows, kPanels>(a, b, chunks, c, ldc, accumulate);
  } else {
    static_assert(kPanels == 1);
    micro_by_chunks<T, kChunk, kMaxRows>(a, b, chunks, c, ldc, accumulate);
  }
}

/// All rows times kPanels panels, of which `cols` columns are C's.
template <class T, bool kRowsAreW, int64_t kChunk, int kPanels>
void multiply_panels(const Rows& a, int64_t n_rows, const Panels& b, int64_t chunks, float* c, int64_t ldc,
                     int64_t cols, bool accumulate) {
  constexpr int64_t kWidth = kPanels * kPanel;
  for (int64_t m = 0; m < n_rows; m += T::kRegisterRows) {
    const int64_t count = std::min<int64_t>(n_rows - m, T::kRegisterRows);
    const Rows tile{a.values + m * kChunk, a.scales + m, a.begin == nullptr ? nullptr : a.begin + m, a.rows};
    float* target = c + m * ldc;
    if (cols >= kWidth) {
      micro_rows<T, kRowsAreW, kChunk, T::kRegisterRows, kPanels>(count, tile, b, chunks, target, ldc, accumulate);
      continue;
    }
    float local[T::kRegisterRows * kWidth] = {};
    for (int64_t r = 0; r < count && accumulate; ++r) {
      std::copy(target + r * ldc, target + r * ldc + cols, local + r * kWidth);
    }
    micro_rows<T, kRowsAreW, kChunk, T::kRegisterRows, kPanels>(count, tile, b, chunks, local, kWidth, accumulate);
    for (int64_t r = 0; r < count; ++r) {
      std::copy(local + r * kWidth, local + r * kWidth + cols, target + r * ldc);
    }
  }
}

/// C [n_rows, cols] (+)= A * B. @param chunks of the depth.
template <class T, bool kRowsAreW, int64_t kChunk>
void multiply(const Rows& a, int64_t n_rows, const Panels& b, int64_t chunks, float* c, int64_t ldc, int64_t cols,
              bool accumulate) {
  constexpr int64_t kWide = T::kRegisterPanels * kPanel;
  int64_t p = 0;
  for (; p + kWide - kPanel < cols; p += kWide) {
    multiply_panels<T, kRowsAreW, kChunk, T::kRegisterPanels>(a, n_rows, b.from(p / kPanel), chunks, c + p, ldc,
                                                              cols - p, accumulate);
  }
  for (; p < cols; p += kPanel) {
    multiply_panels<T, kRowsAreW, kChunk, 1>(a, n_rows, b.from(p / kPanel), chunks, c + p, ldc, cols - p, accumulate);
  }
}

}  // namespace pocketlora::bytes_gemm
