#include "kernels/activation/generic.h"
#include "kernels/common/vec_neon.h"

namespace pocketlora {

void activation_neon(Activation activation, const float* gate, const float* up, int64_t n, float* y) {
  vec::activation_forward<vec::Neon>(activation, gate, up, n, y);
}

void activation_backward_neon(Activation activation, const float* dy, const float* gate, const float* up, int64_t n,
                              float* dgate, float* dup) {
  vec::activation_backward<vec::Neon>(activation, dy, gate, up, n, dgate, dup);
}

void soft_cap_neon(const float* x, int64_t n, float cap, float* y) { vec::soft_cap<vec::Neon>(x, n, cap, y); }

}  // namespace pocketlora
