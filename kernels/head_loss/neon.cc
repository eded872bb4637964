#include "kernels/common/fixed_neon.h"
#include "kernels/common/simd_neon.h"
#include "kernels/head_loss/generic.h"

namespace pocketlora {

void head_loss_neon(const float* h, int64_t n_rows, const Q4Matrix& w, const float* bias, float softcap,
                    const int64_t* labels, const float* weights, float* logprobs, float* loss, float* dh) {
  head_loss_generic<Neon>(h, n_rows, w, bias, softcap, labels, weights, logprobs, loss, dh);
}

}  // namespace pocketlora
