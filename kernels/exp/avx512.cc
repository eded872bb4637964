#include "kernels/common/vec_avx512.h"
#include "kernels/exp/generic.h"

namespace pocketlora {

void exp_avx512(const float* x, int64_t n, float* y) { vec::exp_all<vec::Avx512>(x, n, y); }

}  // namespace pocketlora
