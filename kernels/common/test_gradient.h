#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

namespace pocketlora::test {

/** A derivative by central differences, with a bound on its own error. */
struct Difference {
  double value;
  double error;
};

/**
 * d f / d x[i] of a function that computes in double. The error is that of the step (the difference to twice the step
 * is three times the leading term) and that of the roundings in f, whose terms have the given magnitude.
 */
template <class F>
Difference central_difference(F f, std::vector<double>& x, size_t i, double magnitude) {
  const double step = 1e-4, at = x[i];
  const auto slope = [&](double h) {
    x[i] = at + h;
    const double above = f();
    x[i] = at - h;
    const double below = f();
    x[i] = at;
    return (above - below) / (2 * h);
  };
  const double fine = slope(step), coarse = slope(2 * step);
  const double rounding = 1000 * std::numeric_limits<double>::epsilon() * magnitude / step;
  return {fine, std::abs(coarse - fine) + rounding};
}

}  // namespace pocketlora::test
