#include "kernels/common/many_bf16_neon.h"
#include "kernels/lora_linear/generic.h"
#include "kernels/q4/compute.h"

namespace pocketlora {

void lora_linear_neon_bf16(const float* x, int64_t n_rows, const Q4Matrix& w, const float* bias, const LoraSite& lora,
                           const Dropout* dropout, float* y) {
  if (!neon_bf16_computes(n_rows)) return lora_linear_neon_i8mm(x, n_rows, w, bias, lora, dropout, y);
  lora_linear_generic<NeonBf16>(x, n_rows, w, bias, lora, dropout, y);
}

void lora_linear_backward_neon_bf16(const float* dy, const float* x, int64_t n_rows, const Q4Matrix& w,
                                    const LoraSite& lora, const Dropout* dropout, float* dx, float* da, float* db) {
  if (!neon_bf16_computes(n_rows)) {
    return lora_linear_backward_neon_i8mm(dy, x, n_rows, w, lora, dropout, dx, da, db);
  }
  lora_linear_backward_generic<NeonBf16>(dy, x, n_rows, w, lora, dropout, dx, da, db);
}

}  // namespace pocketlora
