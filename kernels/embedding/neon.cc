#include "kernels/common/simd_neon.h"
#include "kernels/embedding/generic.h"

namespace pocketlora {

void embedding_neon(const int64_t* tokens, int64_t n_tokens, const Q4Matrix& w, float* out) {
  embedding_generic<Neon>(tokens, n_tokens, w, out);
}

}  // namespace pocketlora
