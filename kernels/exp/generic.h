#pragma once

#include "kernels/common/vec_math.h"
#include "kernels/exp/exp.h"

/** The exponential over an instruction set's vocabulary V; one .cc file an instruction set instantiates it. */
namespace pocketlora::vec {

template <class V>
void exp_all(const float* x, int64_t n, float* y) {
  for_each_vector<V>(
      n, [&](int64_t i, int64_t count) { store_count<V>(y + i, simd_exp<V>(load_count<V>(x + i, count)), count); });
}

}  // namespace pocketlora::vec
