#pragma once

#include "kernels/common/fixed_neon.h"
#include "kernels/common/simd_neon_i8mm.h"

namespace pocketlora {

/// 16-bit integers as FixedNeon has them: the products of bytes do nothing for them.
struct FixedNeonI8mm : FixedNeon {};

}  // namespace pocketlora
