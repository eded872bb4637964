#pragma once

#include "kernels/common/few_int16_avx512_vnni.h"
#include "kernels/common/fixed_avx2.h"
#include "kernels/common/simd_avx512_vnni.h"

namespace pocketlora {

/// 16-bit integers of AVX-512 VNNI.
struct FixedAvx512Vnni : FixedAvx2 {
  using Few = FewInt16Avx512Vnni;
};

}  // namespace pocketlora
