#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "kernels/q4/test_matrix.h"

/// What the products of many rows in 16-bit integers may be off by (docs/layout.md).
namespace pocketlora::test {

/// What a unit of a chunk of activations is worth when those of W are at most `largest`: the sum of the magnitudes may
/// reach 2^31 / largest, less half a unit for each value and 2^-12 of it (fp32), and each of them 32767.
template <class X>
double row_unit(const X* x, int64_t count, int64_t chunk, double largest) {
  double sum = 0.0, most = 0.0;
  for (int64_t k = 0; k < count; ++k) {
    const double value = std::abs(static_cast<double>(x[k]));
    sum += value;
    most = std::max(most, value);
  }
  const double limit = 0x1p31 / largest * (1.0 - 0x1p-12) - 0.5 * static_cast<double>(chunk);
  return 1.0001 * std::max(sum / limit, most / 32767.0);
}

/// One product: half a unit of either factor times the other, and the product of both halves.
inline double half_units(double x, double x_unit, double w, double w_unit) {
  return 0.5 * x_unit * std::abs(w) + 0.5 * w_unit * std::abs(x) + 0.25 * x_unit * w_unit;
}

/// Of y[n] for one row of x: the codebook of nf4 has units of 1 / 7854, that of int4 is exact; a chunk is a group.
inline double forward_bound(const TestMatrix& w, const float* x, int64_t n) {
  const Q4Matrix& m = w.matrix();
  const bool nf4 = m.quant == Quant::kNf4;
  double bound = 0.0, sum = 0.0;
  for (int64_t first = 0; first < m.cols; first += m.group) {
    const int64_t end = std::min<int64_t>(first + m.group, m.cols);
    const double unit = row_unit(x + first, end - first, m.group, nf4 ? 7854.0 : 8.0);
    for (int64_t k = first; k < end; ++k) {
      const double w_unit = nf4 ? static_cast<double>(w.scale(n, k)) / 7854.0 : 0.0;
      bound += half_units(x[k], unit, w.value(n, k), w_unit);
      sum += std::abs(static_cast<double>(x[k]) * static_cast<double>(w.value(n, k)));
    }
  }
  return bound + sum_bound(m.cols, sum);
}

/// Of dx[k] for one row of dy: a chunk is 64 rows of W, a group of columns of which has 10000 units in the largest
/// value that its scales allow.
template <class X>
double backward_bound(const TestMatrix& w, const X* dy, int64_t k) {
  const Q4Matrix& m = w.matrix();
  double bound = 0.0, sum = 0.0;
  for (int64_t first = 0; first < m.rows; first += 64) {
    const int64_t end = std::min<int64_t>(first + 64, m.rows);
    double scale = 0.0;
    for (int64_t n = first; n < end; ++n) scale = std::max(scale, static_cast<double>(w.scale(n, k)));
    const double w_unit = 1.0001 * scale * (m.quant == Quant::kNf4 ? 1.0 : 8.0) / 10000.0;
    const double unit = row_unit(dy + first, end - first, 64, 10000.0);
    for (int64_t n = first; n < end; ++n) {
      bound += half_units(dy[n], unit, w.value(n, k), w_unit);
      sum += std::abs(static_cast<double>(dy[n]) * static_cast<double>(w.value(n, k)));
    }
  }
  return bound + sum_bound(m.rows, sum);
}

}  // namespace pocketlora::test
