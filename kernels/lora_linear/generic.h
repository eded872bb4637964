#pragma once

#include "kernels/lora_linear/branch.h"
#include "kernels/lora_linear/lora_linear.h"
#include "kernels/q4/products.h"

namespace pocketlora {

/// y += (t * B^T) for few rows.
template <class V>
void add_branch_rows(const float* t, int64_t n_rows, const LoraSite& lora, int64_t out_features, float* y) {
  const int64_t rank = lora.rank;
  const int64_t step = lora::padded_rank(rank);
  parallel_for(0, out_features, 256, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      for (int64_t i = 0; i < n_rows; ++i) {
        y[i * out_features + n] += lora::dot<V>(t + i * step, lora.b + n * rank, rank);
      }
    }
  });
}

/// Rows [first, first + count) of the forward product, with the branch added while a block of sums is at hand.
template <class V>
void lora_linear_block(const float* x, int64_t count, const Q4Matrix& w, const float* bias, const LoraSite& lora,
                       const float* t, float* y) {
  ScratchFrame frame;
  const int64_t rank = lora.rank;
  const float* panels = rank == 0 ? nullptr : lora::transposed_panels<V>(t, count, rank, frame);
  const int64_t depth = lora::padded_rank(rank);
  q4::many_rows<V>(x, count, w, bias, y, w.rows, [&](int64_t first, int64_t rows, float* sums, int64_t step) {
    if (rank == 0) return;
    ScratchFrame inner;
    float* block = inner.floats(rows * depth);
    lora::row_blocks(lora.b + first * rank, w.rows - first < rows ? w.rows - first : rows, rank, rows, block);
    gemm::multiply<V, true>(block, rows, panels, depth * gemm::kPanel, depth, sums, step, step, true);
  });
}

template <class V>
void lora_linear_generic(const float* x, int64_t n_rows, const Q4Matrix& w, const float* bias, const LoraSite& lora,
                         const Dropout* dropout, float* y) {
  ScratchFrame frame;
  const int64_t step = lora::padded_rank(lora.rank);
  float* t = frame.floats(n_rows * step);
  if (lora.rank > 0) lora::down<V>(x, n_rows, w.cols, lora, dropout, t);
  if constexpr (!q4::kBf16Only<V>) {
    if (n_rows <= q4::kGemvRows) {
      q4::few_rows<V>(x, n_rows, w, bias, y);
      if (lora.rank > 0) add_branch_rows<V>(t, n_rows, lora, w.rows, y);
      return;
    }
  }
  q4::for_row_blocks(n_rows, [&](int64_t first, int64_t count) {
    lora_linear_block<V>(x + first * w.cols, count, w, bias, lora, t + first * step, y + first * w.rows);
  });
}

/// dx of rows [first, first + count): dy * W plus the branch's part, masked.
template <class V>
void lora_linear_dx(const float* dy, int64_t first, int64_t count, const Q4Matrix& w, const LoraSite& lora,
                    const Dropout* dropout, const float* s, float* dx) {
  ScratchFrame frame;
  const int64_t rank = lora.rank;
  float* s_tiles = frame.floats(count * rank);
  gemm::interleave<V>(s + first * lora::padded_rank(rank), lora::padded_rank(rank), 1, count, rank, s_tiles);
  float* target = dx + first * w.cols;
  q4::input_gradient<V>(dy + first * w.rows, w.rows, count, w, target, [&](int64_t column, int64_t cols) {
    if (rank == 0) return;
    ScratchFrame inner;
    float* panels = inner.floats(gemm::round_up(cols, gemm::kPanel) * rank);
    gemm::pack_panels<V>(lora.a + column, w.cols, rank, cols, panels);
    const int64_t panel = rank * gemm::kPanel;
    if (dropout == nullptr) {
      gemm::multiply<V, false>(s_tiles, count, panels, panel, rank, target + column, w.cols, cols, true);
      return;
    }
    float* part = inner.floats(count * cols);
    gemm::multiply<V, false>(s_tiles, count, panels, panel, rank, part, cols, cols, false);
    for (int64_t i = 0; i < count; ++i) {
      lora::mask_row<V>(*dropout, first + i, column, cols, part + i * cols);
      for (int64_t k = 0; k < cols; ++k) target[i * w.cols + column + k] += part[i * cols + k];
    }
  });
}

template <class V>
void lora_linear_backward_generic(const float* dy, const float* x, int64_t n_rows, const Q4Matrix& w,
                                  const LoraSite& lora, const Dropout* dropout, float* dx, float* da, float* db) {
  ScratchFrame frame;
  const int64_t rank = lora.rank;
  float* s = frame.floats(n_rows * lora::padded_rank(rank));
  if (rank > 0) {
    ScratchFrame inner;
    float* t = inner.floats(n_rows * lora::padded_rank(rank));
    lora::down<V>(x, n_rows, w.cols, lora, dropout, t);
    lora::gradient_b<V>(dy, n_rows, w.rows, rank, t, db);
    lora::up_transposed<V>(dy, n_rows, w.rows, lora, s);
    lora::gradient_a<V>(x, n_rows, w.cols, rank, dropout, s, da);
  }
  q4::for_row_blocks(
      n_rows, [&](int64_t first, int64_t count) { lora_linear_dx<V>(dy, first, count, w, lora, dropout, s, dx); });
}

}  // namespace pocketlora
