#include "kernels/activation/generic.h"
#include "kernels/common/vec_avx512.h"

namespace pocketlora {

void activation_avx512(Activation activation, const float* gate, const float* up, int64_t n, float* y) {
  vec::activation_forward<vec::Avx512>(activation, gate, up, n, y);
}

void activation_backward_avx512(Activation activation, const float* dy, const float* gate, const float* up, int64_t n,
                                float* dgate, float* dup) {
  vec::activation_backward<vec::Avx512>(activation, dy, gate, up, n, dgate, dup);
}

void soft_cap_avx512(const float* x, int64_t n, float cap, float* y) { vec::soft_cap<vec::Avx512>(x, n, cap, y); }

}  // namespace pocketlora
