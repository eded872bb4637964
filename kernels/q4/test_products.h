#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "kernels/q4/test_matrix.h"

/// Products that the tests of several kernels expect, computed in double.
namespace pocketlora::test {

inline std::string at(const Q4Shape& shape, int64_t n_rows, int64_t i, int64_t j) {
  return describe(shape) + ", " + std::to_string(n_rows) + " rows, at " + std::to_string(i) + ", " + std::to_string(j);
}

/// Values in double, and the sums of their terms' magnitudes.
struct WideSums {
  std::vector<double> value, magnitude;
};

/// result[i, o] = Σ_n x[i, n] · w(o, n), in double on the values by definition, which shares nothing with the kernels.
template <class W>
WideSums wide_product(const std::vector<float>& x, int64_t n_in, int64_t n_out, const W& w) {
  const int64_t n_rows = static_cast<int64_t>(x.size()) / n_in;
  WideSums sums;
  for (int64_t i = 0; i < n_rows; ++i) {
    for (int64_t o = 0; o < n_out; ++o) {
      double value = 0.0, magnitude = 0.0;
      for (int64_t n = 0; n < n_in; ++n) {
        const double term = static_cast<double>(x[static_cast<size_t>(i * n_in + n)]) * w(o, n);
        value += term;
        magnitude += std::abs(term);
      }
      sums.value.push_back(value);
      sums.magnitude.push_back(magnitude);
    }
  }
  return sums;
}

inline Guarded<float> first_rows(const std::vector<float>& all, int64_t count) {
  return Guarded<float>(std::vector<float>(all.begin(), all.begin() + count));
}

}  // namespace pocketlora::test
