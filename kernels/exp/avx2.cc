#include "kernels/common/vec_avx2.h"
#include "kernels/exp/generic.h"

namespace pocketlora {

void exp_avx2(const float* x, int64_t n, float* y) { vec::exp_all<vec::Avx2>(x, n, y); }

}  // namespace pocketlora
