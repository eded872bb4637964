#include "kernels/common/simd_avx512.h"
#include "kernels/embedding/generic.h"

namespace pocketlora {

void embedding_avx512(const int64_t* tokens, int64_t n_tokens, const Q4Matrix& w, float* out) {
  embedding_generic<Avx512>(tokens, n_tokens, w, out);
}

}  // namespace pocketlora
