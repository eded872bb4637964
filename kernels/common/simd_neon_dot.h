#pragma once

#include "kernels/common/simd_neon.h"

namespace pocketlora {

struct FixedNeonDot;
struct BytesNeonDot;
struct ManyBytesNeonDot;

/// Neon with the dot products of bytes. Only for files that are compiled with its flags.
struct NeonDot : Neon {
  using Fixed = FixedNeonDot;
  using Bytes = BytesNeonDot;
  using ManyBytes = ManyBytesNeonDot;
};

}  // namespace pocketlora
