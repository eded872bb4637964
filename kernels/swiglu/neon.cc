#include "kernels/common/vec_neon.h"
#include "kernels/swiglu/generic.h"

namespace pocketlora {

void swiglu_neon(const float* gate, const float* up, int64_t n, float* y) { vec::swiglu<vec::Neon>(gate, up, n, y); }

void swiglu_backward_neon(const float* dy, const float* gate, const float* up, int64_t n, float* dgate, float* dup) {
  vec::swiglu_backward<vec::Neon>(dy, gate, up, n, dgate, dup);
}

}  // namespace pocketlora
