#include "kernels/common/vec_avx2.h"
#include "kernels/optim/generic.h"

namespace pocketlora {

void adamw_avx2(float* params, const float* grads, float* first_moment, float* second_moment, int64_t n,
                const AdamWScalars& scalars) {
  vec::adamw<vec::Avx2>(params, grads, first_moment, second_moment, n, scalars);
}

void sgd_avx2(float* params, const float* grads, float* momentum_buffer, int64_t n, const SgdScalars& scalars) {
  vec::sgd<vec::Avx2>(params, grads, momentum_buffer, n, scalars);
}

void lion_avx2(float* params, const float* grads, float* momentum, int64_t n, const LionScalars& scalars) {
  vec::lion<vec::Avx2>(params, grads, momentum, n, scalars);
}

double squared_norm_avx2(const float* values, int64_t n) { return vec::squared_norm<vec::Avx2>(values, n); }

}  // namespace pocketlora
