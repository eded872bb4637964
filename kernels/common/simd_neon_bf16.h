#pragma once

#include "kernels/common/simd_neon.h"

namespace pocketlora {

struct ManyBf16Neon;

/// Neon with the matrix products of bf16. Only for files that are compiled with its flags.
struct NeonBf16 : Neon {
  using ManyBf16 = ManyBf16Neon;  ///< for many rows in bf16 only: everything else is that of lower instruction sets
};

}  // namespace pocketlora
