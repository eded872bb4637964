#include "kernels/common/bytes_neon_i8mm.h"
#include "kernels/common/many_bytes_neon_i8mm.h"
#include "kernels/lora_linear/generic.h"
#include "kernels/q4/compute.h"

namespace pocketlora {

void lora_linear_neon_i8mm(const float* x, int64_t n_rows, const Q4Matrix& w, const float* bias, const LoraSite& lora,
                           const Dropout* dropout, float* y) {
  if (active_compute() != Compute::kInt8) return lora_linear_neon(x, n_rows, w, bias, lora, dropout, y);
  lora_linear_generic<NeonI8mm>(x, n_rows, w, bias, lora, dropout, y);
}

void lora_linear_backward_neon_i8mm(const float* dy, const float* x, int64_t n_rows, const Q4Matrix& w,
                                    const LoraSite& lora, const Dropout* dropout, float* dx, float* da, float* db) {
  if (active_compute() != Compute::kInt8 || n_rows <= q4::kGemvRows) {
    return lora_linear_backward_neon(dy, x, n_rows, w, lora, dropout, dx, da, db);
  }
  lora_linear_backward_generic<NeonI8mm>(dy, x, n_rows, w, lora, dropout, dx, da, db);
}

}  // namespace pocketlora
