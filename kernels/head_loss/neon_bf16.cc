#include "kernels/common/many_bf16_neon.h"
#include "kernels/head_loss/generic.h"

namespace pocketlora {

void head_loss_neon_bf16(const float* h, int64_t n_rows, const Q4Matrix& w, const float* bias, float softcap,
                         const int64_t* labels, const float* weights, float* logprobs, float* loss, float* dh) {
  if (!neon_bf16_computes(n_rows)) {
    return head_loss_neon(h, n_rows, w, bias, softcap, labels, weights, logprobs, loss, dh);
  }
  head_loss_generic<NeonBf16>(h, n_rows, w, bias, softcap, labels, weights, logprobs, loss, dh);
}

}  // namespace pocketlora
