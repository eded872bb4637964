#include "kernels/common/vec_neon.h"
#include "kernels/rope/generic.h"

namespace pocketlora {

void rope_neon(const float* x, const float* table, const RopeShape& shape, bool inverse, float* y) {
  vec::rope<vec::Neon>(x, table, shape, inverse, y);
}

}  // namespace pocketlora
