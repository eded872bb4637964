#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels/q4/compute.h"
#include "kernels/q4/test_matrix.h"

/// What the products of many rows in integers may be off by (docs/layout.md).
namespace pocketlora::test {

/// What the integers, or the bf16 values, of a product are, as docs/layout.md says.
struct IntegerScheme {
  Compute compute;
  const char* name;
  /// Units in 1 of nf4's codebook, forward; int4's is exact.
  double codebook;
  /// Units in the largest value that the scales of a group of columns allow, backward.
  double column;
  /// What a unit of a chunk of activations is worth when those of W are at most `largest`.
  double (*unit)(const double* x, int64_t count, int64_t chunk, double largest);
  /// Columns of a chunk of the forward product for groups of that size.
  int64_t (*forward_chunk)(int64_t group);
  /// What a product of two values may be off by besides, of its magnitude.
  double relative;
};

/// The sum of the magnitudes may reach 2^31 / largest, less half a unit for each value and 2^-12 of it (fp32), and each
/// of them 32767.
inline double sum_unit(const double* x, int64_t count, int64_t chunk, double largest) {
  double sum = 0.0, most = 0.0;
  for (int64_t k = 0; k < count; ++k) {
    sum += std::abs(x[k]);
    most = std::max(most, std::abs(x[k]));
  }
  const double limit = 0x1p31 / largest * (1.0 - 0x1p-12) - 0.5 * static_cast<double>(chunk);
  return 1.0001 * std::max(sum / limit, most / 32767.0);
}

/// Each magnitude may reach 127.
inline double byte_unit(const double* x, int64_t count, int64_t, double) {
  double most = 0.0;
  for (int64_t k = 0; k < count; ++k) most = std::max(most, std::abs(x[k]));
  return 1.0001 * most / 127.0;
}

inline const IntegerScheme kIntegerSchemes[] = {
    {Compute::kInt16, "int16", 7854.0, 10000.0, sum_unit, [](int64_t group) { return group; }, 0.0},
    {Compute::kInt8, "int8", 124.0, 127.0, byte_unit, [](int64_t group) { return std::min<int64_t>(group, 64); }, 0.0},
    // Either value has 8 bits: half a unit is at most 2^-8 of it. Where the machine has no such product it is int16's.
    {Compute::kBf16, "bf16", 7854.0, 10000.0, sum_unit, [](int64_t group) { return group; }, 0x1p-7 * (1 + 0x1p-9)},
};

/// One product: half a unit of either factor times the other, and the product of both halves.
inline double half_units(double x, double x_unit, double w, double w_unit) {
  return 0.5 * x_unit * std::abs(w) + 0.5 * w_unit * std::abs(x) + 0.25 * x_unit * w_unit;
}

/// Of y[n] for one row of x.
inline double forward_bound(const IntegerScheme& scheme, const TestMatrix& w, const float* row, int64_t n) {
  const Q4Matrix& m = w.matrix();
  const std::vector<double> x(row, row + m.cols);
  const bool nf4 = m.quant == Quant::kNf4;
  const int64_t chunk = scheme.forward_chunk(m.group);
  double bound = 0.0, sum = 0.0;
  for (int64_t first = 0; first < m.cols; first += chunk) {
    const int64_t end = std::min<int64_t>(first + chunk, m.cols);
    const double unit = scheme.unit(x.data() + first, end - first, chunk, nf4 ? scheme.codebook : 8.0);
    for (int64_t k = first; k < end; ++k) {
      const double w_unit = nf4 ? static_cast<double>(w.scale(n, k)) / scheme.codebook : 0.0;
      bound += half_units(x[static_cast<size_t>(k)], unit, w.value(n, k), w_unit);
      sum += std::abs(x[static_cast<size_t>(k)] * static_cast<double>(w.value(n, k)));
    }
  }
  return bound + scheme.relative * sum + sum_bound(m.cols, sum);
}

/// Of dx[k] for one row of dy: a chunk is 64 rows of W.
/// @param row [m.rows], floats or doubles.
template <class Row>
double backward_bound(const IntegerScheme& scheme, const TestMatrix& w, const Row* row, int64_t k) {
  const Q4Matrix& m = w.matrix();
  const std::vector<double> dy(row, row + m.rows);
  double bound = 0.0, sum = 0.0;
  for (int64_t first = 0; first < m.rows; first += 64) {
    const int64_t end = std::min<int64_t>(first + 64, m.rows);
    double scale = 0.0;
    for (int64_t n = first; n < end; ++n) scale = std::max(scale, static_cast<double>(w.scale(n, k)));
    const double w_unit = 1.0001 * scale * (m.quant == Quant::kNf4 ? 1.0 : 8.0) / scheme.column;
    const double unit = scheme.unit(dy.data() + first, end - first, 64, scheme.column);
    for (int64_t n = first; n < end; ++n) {
      bound += half_units(dy[static_cast<size_t>(n)], unit, w.value(n, k), w_unit);
      sum += std::abs(dy[static_cast<size_t>(n)] * static_cast<double>(w.value(n, k)));
    }
  }
  return bound + scheme.relative * sum + sum_bound(m.rows, sum);
}

inline const IntegerScheme& int16_scheme() { return kIntegerSchemes[0]; }

}  // namespace pocketlora::test
