#include "kernels/common/bytes_avx512_vnni.h"
#include "kernels/common/fixed_avx512_vnni.h"
#include "kernels/common/many_bytes_avx512_vnni.h"
#include "kernels/linear4/generic.h"

namespace pocketlora {

void linear4_avx512_vnni(const float* x, int64_t n_rows, const Q4Matrix& w, const float* bias, float* y) {
  linear4_generic<Avx512Vnni>(x, n_rows, w, bias, y);
}

void linear4_backward_avx512_vnni(const float* dy, int64_t n_rows, const Q4Matrix& w, float* dx) {
  linear4_backward_generic<Avx512Vnni>(dy, n_rows, w, dx);
}

}  // namespace pocketlora
