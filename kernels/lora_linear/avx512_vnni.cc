#include "kernels/common/bytes_avx512_vnni.h"
#include "kernels/common/fixed_avx512_vnni.h"
#include "kernels/common/many_bytes_avx512_vnni.h"
#include "kernels/lora_linear/generic.h"

namespace pocketlora {

void lora_linear_avx512_vnni(const float* x, int64_t n_rows, const Q4Matrix& w, const float* bias, const LoraSite& lora,
                             const Dropout* dropout, float* y) {
  lora_linear_generic<Avx512Vnni>(x, n_rows, w, bias, lora, dropout, y);
}

void lora_linear_backward_avx512_vnni(const float* dy, const float* x, int64_t n_rows, const Q4Matrix& w,
                                      const LoraSite& lora, const Dropout* dropout, float* dx, float* da, float* db) {
  lora_linear_backward_generic<Avx512Vnni>(dy, x, n_rows, w, lora, dropout, dx, da, db);
}

}  // namespace pocketlora
