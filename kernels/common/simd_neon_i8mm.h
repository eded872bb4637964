#pragma once

#include "kernels/common/simd_neon.h"

namespace pocketlora {

struct BytesNeonI8mm;
struct ManyBytesNeonI8mm;

/// Neon with the dot and matrix products of bytes. Only for files that are compiled with its flags.
struct NeonI8mm : Neon {
  using Fixed = void;  ///< 8-bit integers only: floats and 16-bit ones are Neon's
  using Bytes = BytesNeonI8mm;
  using ManyBytes = ManyBytesNeonI8mm;
};

}  // namespace pocketlora
