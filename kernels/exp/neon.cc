#include "kernels/common/vec_neon.h"
#include "kernels/exp/generic.h"

namespace pocketlora {

void exp_neon(const float* x, int64_t n, float* y) { vec::exp_all<vec::Neon>(x, n, y); }

}  // namespace pocketlora
