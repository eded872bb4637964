#pragma once

#include "kernels/linear4/linear4.h"
#include "kernels/q4/products.h"

namespace pocketlora {

template <class V>
void linear4_generic(const float* x, int64_t n_rows, const Q4Matrix& w, const float* bias, float* y) {
  if constexpr (!q4::kBf16Only<V>) {
    if (n_rows <= q4::kGemvRows) return q4::few_rows<V>(x, n_rows, w, bias, y);
  }
  q4::for_row_blocks(n_rows, [&](int64_t first, int64_t count) {
    q4::many_rows<V>(x + first * w.cols, count, w, bias, y + first * w.rows, w.rows,
                     [](int64_t, int64_t, float*, int64_t) {});
  });
}

template <class V>
void linear4_backward_generic(const float* dy, int64_t n_rows, const Q4Matrix& w, float* dx) {
  q4::for_row_blocks(n_rows, [&](int64_t first, int64_t count) {
    q4::input_gradient<V>(dy + first * w.rows, w.rows, count, w, dx + first * w.cols, [](int64_t, int64_t) {});
  });
}

}  // namespace pocketlora
