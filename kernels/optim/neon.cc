#include "kernels/common/vec_neon.h"
#include "kernels/optim/generic.h"

namespace pocketlora {

void adamw_neon(float* params, const float* grads, float* first_moment, float* second_moment, int64_t n,
                const AdamWScalars& scalars) {
  vec::adamw<vec::Neon>(params, grads, first_moment, second_moment, n, scalars);
}

void sgd_neon(float* params, const float* grads, float* momentum_buffer, int64_t n, const SgdScalars& scalars) {
  vec::sgd<vec::Neon>(params, grads, momentum_buffer, n, scalars);
}

void lion_neon(float* params, const float* grads, float* momentum, int64_t n, const LionScalars& scalars) {
  vec::lion<vec::Neon>(params, grads, momentum, n, scalars);
}

double squared_norm_neon(const float* values, int64_t n) { return vec::squared_norm<vec::Neon>(values, n); }

}  // namespace pocketlora
