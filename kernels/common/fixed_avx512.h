#pragma once

#include "kernels/common/fixed_avx2.h"
#include "kernels/common/simd_avx512.h"

namespace pocketlora {

/// AVX2's integers, compiled for AVX-512: a type of its own keeps the code of the two instruction sets apart.
struct FixedAvx512 : FixedAvx2 {
  using Many = FixedAvx512;
};

}  // namespace pocketlora
