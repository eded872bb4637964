#include "kernels/common/vec_avx512.h"
#include "kernels/swiglu/generic.h"

namespace pocketlora {

void swiglu_avx512(const float* gate, const float* up, int64_t n, float* y) {
  vec::swiglu<vec::Avx512>(gate, up, n, y);
}

void swiglu_backward_avx512(const float* dy, const float* gate, const float* up, int64_t n, float* dgate, float* dup) {
  vec::swiglu_backward<vec::Avx512>(dy, gate, up, n, dgate, dup);
}

}  // namespace pocketlora
