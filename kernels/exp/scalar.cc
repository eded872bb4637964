#include <cmath>

#include "kernels/exp/exp.h"

namespace pocketlora {

void exp_scalar(const float* x, int64_t n, float* y) {
  for (int64_t i = 0; i < n; ++i) y[i] = std::exp(x[i]);
}

}  // namespace pocketlora
