#pragma once

#include "kernels/common/bytes_avx2.h"
#include "kernels/common/simd_avx512_vnni.h"

namespace pocketlora {

/// 8-bit integers of AVX-512 VNNI.
struct BytesAvx512Vnni : BytesAvx2 {};

}  // namespace pocketlora
