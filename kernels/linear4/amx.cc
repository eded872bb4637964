#include "kernels/common/many_bf16_amx.h"
#include "kernels/linear4/generic.h"
#include "kernels/q4/compute.h"

namespace pocketlora {

void linear4_amx(const float* x, int64_t n_rows, const Q4Matrix& w, const float* bias, float* y) {
  if (!amx_computes(n_rows)) return linear4_avx512_vnni(x, n_rows, w, bias, y);
  linear4_generic<Amx>(x, n_rows, w, bias, y);
}

void linear4_backward_amx(const float* dy, int64_t n_rows, const Q4Matrix& w, float* dx) {
  if (!amx_computes(n_rows)) return linear4_backward_avx512_vnni(dy, n_rows, w, dx);
  linear4_backward_generic<Amx>(dy, n_rows, w, dx);
}

}  // namespace pocketlora
