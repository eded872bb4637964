#include "kernels/linear4/linear4.h"

namespace pocketlora {
namespace {

constexpr KernelEntry<Linear4Kernel> kKernels[] = {
#define PL_KERNEL(isa, forward, backward) {Isa::isa, #forward, {forward, backward}},
#include "kernels/linear4/kernels.inc"
#undef PL_KERNEL
};

}  // namespace

void linear4(const float* x, int64_t n_rows, const Q4Matrix& w, const float* bias, float* y, Isa isa) {
  select_kernel(kKernels, isa).forward(x, n_rows, w, bias, y);
}

void linear4(const float* x, int64_t n_rows, const Q4Matrix& w, const float* bias, float* y) {
  linear4(x, n_rows, w, bias, y, active_isa());
}

void linear4_backward(const float* dy, int64_t n_rows, const Q4Matrix& w, float* dx, Isa isa) {
  select_kernel(kKernels, isa).backward(dy, n_rows, w, dx);
}

void linear4_backward(const float* dy, int64_t n_rows, const Q4Matrix& w, float* dx) {
  linear4_backward(dy, n_rows, w, dx, active_isa());
}

}  // namespace pocketlora
