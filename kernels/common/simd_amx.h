#pragma once

#include "kernels/common/simd_avx512.h"

namespace pocketlora {

struct ManyBf16Amx;

/// Avx512 with the tiles of AMX. Only for files that are compiled with its flags.
struct Amx : Avx512 {
  using ManyBf16 = ManyBf16Amx;  ///< for many rows in bf16 only: everything else is Avx512Vnni's
};

}  // namespace pocketlora
