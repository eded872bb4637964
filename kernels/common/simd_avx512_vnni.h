#pragma once

#include "kernels/common/simd_avx512.h"

namespace pocketlora {

struct FixedAvx512Vnni;
struct BytesAvx512Vnni;
struct ManyBytesAvx512Vnni;

/// Avx512 with the integers of VNNI. Only for files that are compiled with its flags.
struct Avx512Vnni : Avx512 {
  using Fixed = FixedAvx512Vnni;
  using Bytes = BytesAvx512Vnni;
  using ManyBytes = ManyBytesAvx512Vnni;
};

}  // namespace pocketlora
