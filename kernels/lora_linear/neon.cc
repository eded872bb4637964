#include "kernels/common/bytes_neon.h"
#include "kernels/common/fixed_neon.h"
#include "kernels/lora_linear/generic.h"

namespace pocketlora {

void lora_linear_neon(const float* x, int64_t n_rows, const Q4Matrix& w, const float* bias, const LoraSite& lora,
                      const Dropout* dropout, float* y) {
  lora_linear_generic<Neon>(x, n_rows, w, bias, lora, dropout, y);
}

void lora_linear_backward_neon(const float* dy, const float* x, int64_t n_rows, const Q4Matrix& w, const LoraSite& lora,
                               const Dropout* dropout, float* dx, float* da, float* db) {
  lora_linear_backward_generic<Neon>(dy, x, n_rows, w, lora, dropout, dx, da, db);
}

}  // namespace pocketlora
