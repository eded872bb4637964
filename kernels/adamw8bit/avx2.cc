#include "kernels/adamw8bit/generic.h"
#include "kernels/common/vec_avx2.h"

namespace pocketlora {

void adamw8bit_avx2(float* params, const float* grads, const Moment8& first, const Moment8& second, int64_t n,
                    const AdamW8Scalars& scalars) {
  vec::adamw8bit<vec::Avx2>(params, grads, first, second, n, scalars);
}

}  // namespace pocketlora
