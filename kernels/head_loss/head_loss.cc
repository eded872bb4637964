#include "kernels/head_loss/head_loss.h"

namespace pocketlora {
namespace {

constexpr KernelEntry<HeadLossKernel> kKernels[] = {
#define PL_KERNEL(isa, function) {Isa::isa, #function, function},
#include "kernels/head_loss/kernels.inc"
#undef PL_KERNEL
};

}  // namespace

void head_loss(const float* h, int64_t n_rows, const Q4Matrix& w, const float* bias, float softcap,
               const int64_t* labels, const float* weights, float* logprobs, float* loss, float* dh, Isa isa) {
  select_kernel(kKernels, isa)(h, n_rows, w, bias, softcap, labels, weights, logprobs, loss, dh);
}

void head_loss(const float* h, int64_t n_rows, const Q4Matrix& w, const float* bias, float softcap,
               const int64_t* labels, const float* weights, float* logprobs, float* loss, float* dh) {
  head_loss(h, n_rows, w, bias, softcap, labels, weights, logprobs, loss, dh, active_isa());
}

}  // namespace pocketlora
