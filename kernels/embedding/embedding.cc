#include "kernels/embedding/embedding.h"

namespace pocketlora {
namespace {

constexpr KernelEntry<EmbeddingKernel> kKernels[] = {
#define PL_KERNEL(isa, function) {Isa::isa, #function, function},
#include "kernels/embedding/kernels.inc"
#undef PL_KERNEL
};

}  // namespace

void embedding(const int64_t* tokens, int64_t n_tokens, const Q4Matrix& w, float* out, Isa isa) {
  select_kernel(kKernels, isa)(tokens, n_tokens, w, out);
}

void embedding(const int64_t* tokens, int64_t n_tokens, const Q4Matrix& w, float* out) {
  embedding(tokens, n_tokens, w, out, active_isa());
}

}  // namespace pocketlora
