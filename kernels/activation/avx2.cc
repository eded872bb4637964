#include "kernels/activation/generic.h"
#include "kernels/common/vec_avx2.h"

namespace pocketlora {

void activation_avx2(Activation activation, const float* gate, const float* up, int64_t n, float* y) {
  vec::activation_forward<vec::Avx2>(activation, gate, up, n, y);
}

void activation_backward_avx2(Activation activation, const float* dy, const float* gate, const float* up, int64_t n,
                              float* dgate, float* dup) {
  vec::activation_backward<vec::Avx2>(activation, dy, gate, up, n, dgate, dup);
}

void soft_cap_avx2(const float* x, int64_t n, float cap, float* y) { vec::soft_cap<vec::Avx2>(x, n, cap, y); }

}  // namespace pocketlora
