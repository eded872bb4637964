#include "kernels/common/vec_avx2.h"
#include "kernels/swiglu/generic.h"

namespace pocketlora {

void swiglu_avx2(const float* gate, const float* up, int64_t n, float* y) { vec::swiglu<vec::Avx2>(gate, up, n, y); }

void swiglu_backward_avx2(const float* dy, const float* gate, const float* up, int64_t n, float* dgate, float* dup) {
  vec::swiglu_backward<vec::Avx2>(dy, gate, up, n, dgate, dup);
}

}  // namespace pocketlora
