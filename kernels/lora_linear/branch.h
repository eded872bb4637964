#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/common/parallel.h"
#include "kernels/common/scratch.h"
#include "kernels/lora_linear/dropout.h"
#include "kernels/lora_linear/lora_linear.h"
#include "kernels/q4/gemm.h"

/// The small products of the LoRA branch, for vectors V (common/simd_*.h). Matrices with `rank` columns are stored with
/// rows of padded_rank() elements, zero-padded.
namespace pocketlora::lora {

static inline int64_t padded_rank(int64_t rank) { return gemm::round_up(rank, gemm::kPanel); }

/// Multiplies a row's columns [column, column + cols) by their dropout factors. The type parameter keeps the code of
/// different instruction sets apart.
template <class V>
void mask_row(const Dropout& dropout, int64_t row, int64_t column, int64_t cols, float* values) {
  const uint32_t key = dropout_key(dropout);
  for (int64_t k = 0; k < cols; ++k) values[k] *= dropout_factor(key, dropout.p, row, column + k);
}

/// sum over r of a[r] * b[r].
template <class V>
float dot(const float* a, const float* b, int64_t count) {
  typename V::F sum = V::zero();
  int64_t r = 0;
  for (; r + V::kLanes <= count; r += V::kLanes) sum = V::fma(V::load(a + r), V::load(b + r), sum);
  float result = V::sum(sum);
  for (; r < count; ++r) result += a[r] * b[r];
  return result;
}

/// out[i, r] = scale[r] * sum over q of src[i, q] * panels[r / 16][q][r % 16], src masked.
template <class V>
void project(const float* src, int64_t n_rows, int64_t depth, const Dropout* dropout, const float* panels,
             const float* scale, int64_t rank, float* out) {
  const int64_t step = padded_rank(rank);
  constexpr int64_t kRows = 4 * V::kTileRows;
  parallel_for(0, gemm::ceil_div(n_rows, kRows), 1, [&](int64_t begin, int64_t end) {
    ScratchFrame frame;
    float* tiles = frame.floats(kRows * depth);
    float* masked = frame.floats(dropout == nullptr ? 0 : kRows * depth);
    for (int64_t first = begin * kRows; first < end * kRows && first < n_rows; first += kRows) {
      const int64_t count = n_rows - first < kRows ? n_rows - first : kRows;
      const float* rows = src + first * depth;
      if (dropout != nullptr) {
        std::memcpy(masked, rows, static_cast<size_t>(count * depth) * sizeof(float));
        for (int64_t i = 0; i < count; ++i) mask_row<V>(*dropout, first + i, 0, depth, masked + i * depth);
        rows = masked;
      }
      gemm::interleave<V>(rows, depth, 1, count, depth, tiles);
      float* target = out + first * step;
      gemm::multiply<V, false>(tiles, count, panels, depth * gemm::kPanel, depth, target, step, step, false);
      for (int64_t i = 0; i < count; ++i) {
        for (int64_t r = 0; r < rank; ++r) target[i * step + r] *= scale[r];
      }
    }
  });
}

/// t = (drop(x) * A^T) o scale. @param t [n_rows, padded_rank].
template <class V>
void down(const float* x, int64_t n_rows, int64_t cols, const LoraSite& site, const Dropout* dropout, float* t) {
  ScratchFrame frame;
  const int64_t panel = gemm::round_up(cols, 16) * gemm::kPanel;
  float* panels = frame.floats(padded_rank(site.rank) / gemm::kPanel * panel);
  for (int64_t r = 0; r < site.rank; r += gemm::kPanel) {
    // Each panel is written with its depth rounded up; the next one overwrites the surplus.
    const int64_t count = site.rank - r < gemm::kPanel ? site.rank - r : gemm::kPanel;
    gemm::pack_panel_transposed<V>(site.a + r * cols, cols, cols, count, panels + r * cols);
  }
  project<V>(x, n_rows, cols, dropout, panels, site.scale, site.rank, t);
}

/// s = (dy * B) o scale. @param s [n_rows, padded_rank].
template <class V>
void up_transposed(const float* dy, int64_t n_rows, int64_t rows, const LoraSite& site, float* s) {
  ScratchFrame frame;
  float* panels = frame.floats(padded_rank(site.rank) * rows);
  gemm::pack_panels<V>(site.b, site.rank, rows, site.rank, panels);
  project<V>(dy, n_rows, rows, nullptr, panels, site.scale, site.rank, s);
}

/// t^T as panels of 16 rows: [ceil(n_rows / 16)][padded_rank][16], zero-padded.
template <class V>
const float* transposed_panels(const float* t, int64_t n_rows, int64_t rank, ScratchFrame& frame) {
  const int64_t step = padded_rank(rank);
  float* panels = frame.floats(gemm::round_up(n_rows, gemm::kPanel) * step);
  for (int64_t i = 0; i < n_rows; i += gemm::kPanel) {
    const int64_t count = n_rows - i < gemm::kPanel ? n_rows - i : gemm::kPanel;
    gemm::pack_panel_transposed<V>(t + i * step, step, step, count, panels + i * step);
  }
  return panels;
}

/// b [real, rank] as row blocks [padded_rank / 16][rows][16], zero-padded.
static inline void row_blocks(const float* b, int64_t real, int64_t rank, int64_t rows, float* out) {
  for (int64_t block = 0; block < padded_rank(rank) / 16; ++block) {
    for (int64_t n = 0; n < rows; ++n) {
      for (int64_t j = 0; j < 16; ++j) {
        const int64_t r = block * 16 + j;
        out[(block * rows + n) * 16 + j] = n < real && r < rank ? b[n * rank + r] : 0.0f;
      }
    }
  }
}

/// db[n, r] = sum over i of dy[i, n] * t[i, r].
template <class V>
void gradient_b(const float* dy, int64_t n_rows, int64_t rows, int64_t rank, const float* t, float* db) {
  constexpr int64_t kRows = 8 * V::kTileRows;
  ScratchFrame frame;
  float* panels = frame.floats(padded_rank(rank) * n_rows);
  gemm::pack_panels<V>(t, padded_rank(rank), n_rows, rank, panels);
  parallel_for(0, gemm::ceil_div(rows, kRows), 1, [&](int64_t begin, int64_t end) {
    ScratchFrame inner;
    float* tiles = inner.floats(kRows * n_rows);
    for (int64_t n = begin * kRows; n < end * kRows && n < rows; n += kRows) {
      const int64_t count = rows - n < kRows ? rows - n : kRows;
      gemm::interleave<V>(dy + n, 1, rows, count, n_rows, tiles);
      gemm::multiply<V, false>(tiles, count, panels, n_rows * gemm::kPanel, n_rows, db + n * rank, rank, rank, false);
    }
  });
}

/// da[r, k] = sum over i of s[i, r] * drop(x)[i, k].
template <class V>
void gradient_a(const float* x, int64_t n_rows, int64_t cols, int64_t rank, const Dropout* dropout, const float* s,
                float* da) {
  constexpr int64_t kCols = V::kTilePanels * gemm::kPanel;
  ScratchFrame frame;
  float* tiles = frame.floats(rank * n_rows);
  gemm::interleave<V>(s, 1, padded_rank(rank), rank, n_rows, tiles);
  parallel_for(0, gemm::ceil_div(cols, kCols), 4, [&](int64_t begin, int64_t end) {
    ScratchFrame inner;
    float* panels = inner.floats(n_rows * kCols);
    for (int64_t k = begin * kCols; k < end * kCols && k < cols; k += kCols) {
      const int64_t width = cols - k < kCols ? cols - k : kCols;
      gemm::pack_panels<V>(x + k, cols, n_rows, width, panels);
      for (int64_t row = 0; dropout != nullptr && row < n_rows; ++row) {
        for (int64_t p = 0; p < width; p += gemm::kPanel) {
          mask_row<V>(*dropout, row, k + p, gemm::kPanel, panels + p * n_rows + row * gemm::kPanel);
        }
      }
      gemm::multiply<V, false>(tiles, rank, panels, n_rows * gemm::kPanel, n_rows, da + k, cols, width, false);
    }
  });
}

}  // namespace pocketlora::lora
