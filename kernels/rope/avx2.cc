#include "kernels/common/simd_avx2.h"
#include "kernels/rope/simd.h"

namespace pocketlora {

void rope_avx2(const float* x, const float* table, const RopeShape& shape, bool inverse, float* y) {
  simd::rope<simd::Avx2>(x, table, shape, inverse, y);
}

}  // namespace pocketlora
