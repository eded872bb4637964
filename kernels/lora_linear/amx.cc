#include "kernels/common/many_bf16_amx.h"
#include "kernels/lora_linear/generic.h"
#include "kernels/q4/compute.h"

namespace pocketlora {

void lora_linear_amx(const float* x, int64_t n_rows, const Q4Matrix& w, const float* bias, const LoraSite& lora,
                     const Dropout* dropout, float* y) {
  if (!amx_computes(n_rows)) return lora_linear_avx512_vnni(x, n_rows, w, bias, lora, dropout, y);
  lora_linear_generic<Amx>(x, n_rows, w, bias, lora, dropout, y);
}

void lora_linear_backward_amx(const float* dy, const float* x, int64_t n_rows, const Q4Matrix& w, const LoraSite& lora,
                              const Dropout* dropout, float* dx, float* da, float* db) {
  if (!amx_computes(n_rows)) {
    return lora_linear_backward_avx512_vnni(dy, x, n_rows, w, lora, dropout, dx, da, db);
  }
  lora_linear_backward_generic<Amx>(dy, x, n_rows, w, lora, dropout, dx, da, db);
}

}  // namespace pocketlora
