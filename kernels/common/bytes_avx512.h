#pragma once

#include "kernels/common/bytes_avx2.h"
#include "kernels/common/simd_avx512.h"

namespace pocketlora {

/// AVX2's bytes, compiled for AVX-512: a type of its own keeps the code of the two instruction sets apart.
struct BytesAvx512 : BytesAvx2 {};

}  // namespace pocketlora
