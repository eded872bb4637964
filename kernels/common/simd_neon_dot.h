#pragma once

#include "kernels/common/simd_neon.h"

namespace pocketlora {

struct BytesNeonDot;
struct ManyBytesNeonDot;

/// Neon with the dot products of bytes. Only for files that are compiled with its flags.
struct NeonDot : Neon {
  using Fixed = void;  ///< 8-bit integers only: floats and 16-bit ones are Neon's
  using Bytes = BytesNeonDot;
  using ManyBytes = ManyBytesNeonDot;
};

}  // namespace pocketlora
