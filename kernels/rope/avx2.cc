#include "kernels/common/vec_avx2.h"
#include "kernels/rope/generic.h"

namespace pocketlora {

void rope_avx2(const float* x, const float* table, const RopeShape& shape, bool inverse, float* y) {
  vec::rope<vec::Avx2>(x, table, shape, inverse, y);
}

}  // namespace pocketlora
