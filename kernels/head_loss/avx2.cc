#include "kernels/common/fixed_avx2.h"
#include "kernels/common/simd_avx2.h"
#include "kernels/head_loss/generic.h"

namespace pocketlora {

void head_loss_avx2(const float* h, int64_t n_rows, const Q4Matrix& w, const float* bias, float softcap,
                    const int64_t* labels, const float* weights, float* logprobs, float* loss, float* dh) {
  head_loss_generic<Avx2>(h, n_rows, w, bias, softcap, labels, weights, logprobs, loss, dh);
}

}  // namespace pocketlora
