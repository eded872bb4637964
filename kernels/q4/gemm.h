#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/common/simd_math.h"

/// fp32 products C (+)= A * B on packed operands, for vectors V (common/simd_*.h).
///
/// B is stored as panels of 16 columns: b[panel][depth][16]. A has one of two forms:
///   interleaved  tiles of V::kTileRows rows: a[tile][depth][rows of the tile]
///   row blocks   a[depth / 16][rows][16], the form of a dequantized block of W
/// Element (m, p) of C is summed over the depth in order, whatever the tile it lies in.
namespace pocketlora::gemm {

constexpr int64_t kPanel = 16;

static inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
static inline int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

/// One register tile: kRows rows by kPanels panels. @param a_step elements from one block of 16 of A to the next.
template <class V, int kRows, int kPanels, bool kRowBlocks>
void micro(const float* a, int64_t a_step, const float* b, int64_t b_panel, int64_t depth, float* c, int64_t ldc,
           bool accumulate) {
  using F = typename V::F;
  constexpr int kVectors = kPanels * static_cast<int>(kPanel) / V::kLanes;
  constexpr int kPerPanel = static_cast<int>(kPanel) / V::kLanes;
  F acc[kRows][kVectors];
  PL_UNROLL for (int r = 0; r < kRows; ++r) {
    PL_UNROLL for (int v = 0; v < kVectors; ++v) acc[r][v] =
        accumulate ? V::load(c + r * ldc + v * V::kLanes) : V::zero();
  }
  for (int64_t q = 0; q < depth; q += 16) {
    const int64_t steps = depth - q < 16 ? depth - q : 16;
    for (int64_t s = 0; s < steps; ++s) {
      F bv[kVectors];
      PL_UNROLL for (int v = 0; v < kVectors; ++v) {
        bv[v] = V::load(b + s * kPanel + v / kPerPanel * b_panel + v % kPerPanel * V::kLanes);
      }
      PL_UNROLL for (int r = 0; r < kRows; ++r) {
        const F av = V::set1(kRowBlocks ? a[r * 16 + s] : a[s * kRows + r]);
        PL_UNROLL for (int v = 0; v < kVectors; ++v) acc[r][v] = V::fma(av, bv[v], acc[r][v]);
      }
    }
    a += a_step;
    b += 16 * kPanel;
  }
  PL_UNROLL for (int r = 0; r < kRows; ++r) {
    PL_UNROLL for (int v = 0; v < kVectors; ++v) V::store(c + r * ldc + v * V::kLanes, acc[r][v]);
  }
}

/// Chooses the micro kernel of `rows` <= kMaxRows at run time.
template <class V, int kMaxRows, int kPanels, bool kRowBlocks>
void micro_rows(int64_t rows, const float* a, int64_t a_step, const float* b, int64_t b_panel, int64_t depth, float* c,
                int64_t ldc, bool accumulate) {
  if constexpr (kMaxRows > 1) {
    if (rows < kMaxRows) {
      return micro_rows<V, kMaxRows - 1, kPanels, kRowBlocks>(rows, a, a_step, b, b_panel, depth, c, ldc, accumulate);
    }
  }
  micro<V, kMaxRows, kPanels, kRowBlocks>(a, kRowBlocks ? a_step : 16 * kMaxRows, b, b_panel, depth, c, ldc,
                                          accumulate);
}

/// All rows of one or two panels of columns; a last panel that is narrower than 16 goes through a local tile.
template <class V, int kPanels, bool kRowBlocks>
void multiply_panels(const float* a, int64_t rows, const float* b, int64_t b_panel, int64_t depth, float* c,
                     int64_t ldc, int64_t cols, bool accumulate) {
  const int64_t width = kPanels * kPanel;
  for (int64_t m = 0; m < rows; m += V::kTileRows) {
    const int64_t count = rows - m < V::kTileRows ? rows - m : V::kTileRows;
    const float* tile = a + m * (kRowBlocks ? 16 : depth);
    float* target = c + m * ldc;
    if (cols >= width) {
      micro_rows<V, V::kTileRows, kPanels, kRowBlocks>(count, tile, rows * 16, b, b_panel, depth, target, ldc,
                                                       accumulate);
      continue;
    }
    float local[V::kTileRows * kPanels * kPanel];
    for (int64_t r = 0; r < count && accumulate; ++r) {
      std::memcpy(local + r * width, target + r * ldc, static_cast<size_t>(cols) * sizeof(float));
      for (int64_t p = cols; p < width; ++p) local[r * width + p] = 0.0f;
    }
    micro_rows<V, V::kTileRows, kPanels, kRowBlocks>(count, tile, rows * 16, b, b_panel, depth, local, width,
                                                     accumulate);
    for (int64_t r = 0; r < count; ++r) {
      std::memcpy(target + r * ldc, local + r * width, static_cast<size_t>(cols) * sizeof(float));
    }
  }
}

/// C[rows, cols] (+)= A[rows, depth] * B[depth, cols]. @param b_panel elements from one panel of B to the next.
template <class V, bool kRowBlocks>
void multiply(const float* a, int64_t rows, const float* b, int64_t b_panel, int64_t depth, float* c, int64_t ldc,
              int64_t cols, bool accumulate) {
  constexpr int64_t kWide = V::kTilePanels * kPanel;
  int64_t p = 0;
  for (; p + kWide - kPanel < cols; p += kWide) {
    multiply_panels<V, V::kTilePanels, kRowBlocks>(a, rows, b + p / kPanel * b_panel, b_panel, depth, c + p, ldc,
                                                   cols - p, accumulate);
  }
  for (; p < cols; p += kPanel) {
    multiply_panels<V, 1, kRowBlocks>(a, rows, b + p / kPanel * b_panel, b_panel, depth, c + p, ldc, cols - p,
                                      accumulate);
  }
}

/// out[c][r] = in[r][c] for 16 x 16.
template <class V>
void transpose16(const float* in, int64_t in_stride, float* out, int64_t out_stride) {
  if constexpr (V::kLanes == 16) {
    V::transpose16(in, in_stride, out, out_stride);
  } else {
    constexpr int64_t kBlock = V::kTransposeSize;
    for (int64_t r = 0; r < 16; r += kBlock) {
      for (int64_t c = 0; c < 16; c += kBlock) {
        V::transpose(in + r * in_stride + c, in_stride, out + c * out_stride + r, out_stride);
      }
    }
  }
}

/// One whole tile: out[q][r] = from[r * row_step + q], q < depth. Square blocks are transposed; where they are wider
/// than the tile their surplus is overwritten by what follows it in `out`: rows of `from` up to the next multiple of
/// the block must exist, and as many elements behind the tile.
template <class V>
void interleave_tile(const float* from, int64_t row_step, int64_t depth, float* out) {
  constexpr int64_t kBlock = V::kTransposeSize;
  constexpr int64_t kLast = (V::kTileRows - 1) / kBlock * kBlock;
  int64_t q = 0;
  for (; q + kBlock <= depth; q += kBlock) {
    // Backwards, so that the surplus of the last block is overwritten by the first of the next row.
    for (int64_t r = kLast; r >= 0; r -= kBlock) {
      V::transpose(from + r * row_step + q, row_step, out + q * V::kTileRows + r, V::kTileRows);
    }
  }
  for (; q < depth; ++q) {
    for (int64_t r = 0; r < V::kTileRows; ++r) out[q * V::kTileRows + r] = from[r * row_step + q];
  }
}

/// Interleaves rows: A(m, q) = src[m * row_step + q * depth_step]. @param out rows * depth elements.
template <class V>
void interleave(const float* src, int64_t row_step, int64_t depth_step, int64_t rows, int64_t depth, float* out) {
  constexpr int64_t kWhole = (V::kTileRows + V::kTransposeSize - 1) / V::kTransposeSize * V::kTransposeSize;
  for (int64_t m = 0; m < rows; m += V::kTileRows) {
    const int64_t count = rows - m < V::kTileRows ? rows - m : V::kTileRows;
    const float* from = src + m * row_step;
    if (depth_step == 1 && m + kWhole <= rows) {
      interleave_tile<V>(from, row_step, depth, out);
    } else if (count == V::kTileRows) {
      for (int64_t q = 0; q < depth; ++q) {
        PL_UNROLL for (int r = 0; r < V::kTileRows; ++r) out[q * V::kTileRows + r] =
            from[r * row_step + q * depth_step];
      }
    } else {
      for (int64_t q = 0; q < depth; ++q) {
        for (int64_t r = 0; r < count; ++r) out[q * count + r] = from[r * row_step + q * depth_step];
      }
    }
    out += count * depth;
  }
}

/// One panel: out[q][j] = src[q * row_step + j], j < 16; columns from `cols` on become 0.
template <class V>
void pack_panel(const float* src, int64_t row_step, int64_t depth, int64_t cols, float* out) {
  for (int64_t q = 0; q < depth; ++q) {
    const float* from = src + q * row_step;
    if (cols >= kPanel) {
      std::memcpy(out + q * kPanel, from, kPanel * sizeof(float));
    } else {
      for (int64_t j = 0; j < kPanel; ++j) out[q * kPanel + j] = j < cols ? from[j] : 0.0f;
    }
  }
}

/// All panels of a matrix [depth, cols]: out[ceil(cols / 16)][depth][16].
template <class V>
void pack_panels(const float* src, int64_t row_step, int64_t depth, int64_t cols, float* out) {
  for (int64_t p = 0; p < cols; p += kPanel) pack_panel<V>(src + p, row_step, depth, cols - p, out + p * depth);
}

/// One panel of a transposed matrix: out[q][j] = src[j * row_step + q] for q < depth, j < count; zero for the other
/// columns and for the depth up to the next multiple of 16.
template <class V>
void pack_panel_transposed(const float* src, int64_t row_step, int64_t depth, int64_t count, float* out) {
  const int64_t fast = count == kPanel ? depth / 16 * 16 : 0;
  for (int64_t q = 0; q < fast; q += 16) transpose16<V>(src + q, row_step, out + q * kPanel, kPanel);
  for (int64_t q = fast; q < round_up(depth, 16); ++q) {
    for (int64_t j = 0; j < kPanel; ++j) out[q * kPanel + j] = q < depth && j < count ? src[j * row_step + q] : 0.0f;
  }
}

/// to[k] (+)= from[k], k < count.
template <class T>
void add_or_copy(const float* from, int64_t count, float* to, bool add) {
  int64_t k = 0;
  for (; k + T::kLanes <= count; k += T::kLanes) {
    const typename T::F v = T::load(from + k);
    T::store(to + k, add ? T::add(T::load(to + k), v) : v);
  }
  for (; k < count; ++k) to[k] = add ? to[k] + from[k] : from[k];
}

}  // namespace pocketlora::gemm
