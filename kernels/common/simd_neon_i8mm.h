#pragma once

#include "kernels/common/simd_neon.h"

namespace pocketlora {

struct FixedNeonI8mm;
struct BytesNeonI8mm;
struct ManyBytesNeonI8mm;

/// Neon with the dot and matrix products of bytes. Only for files that are compiled with its flags.
struct NeonI8mm : Neon {
  using Fixed = FixedNeonI8mm;
  using Bytes = BytesNeonI8mm;
  using ManyBytes = ManyBytesNeonI8mm;
};

}  // namespace pocketlora
