#include "kernels/common/simd_neon.h"
#include "kernels/rope/simd.h"

namespace pocketlora {

void rope_neon(const float* x, const float* table, const RopeShape& shape, bool inverse, float* y) {
  simd::rope<simd::Neon>(x, table, shape, inverse, y);
}

}  // namespace pocketlora
