#include "kernels/embedding/embedding.h"

namespace pocketlora {

void embedding_scalar(const int64_t* tokens, int64_t n_tokens, const Q4Matrix& w, float* out) {
  for (int64_t i = 0; i < n_tokens; ++i) q4_dequantize_row(w, tokens[i], out + i * w.cols);
}

}  // namespace pocketlora
