#include "kernels/exp/exp.h"

namespace pocketlora {
namespace {

constexpr KernelEntry<ExpKernel> kKernels[] = {
#define PL_KERNEL(isa, function) {Isa::isa, #function, function},
#include "kernels/exp/kernels.inc"
#undef PL_KERNEL
};

}  // namespace

void exp(const float* x, int64_t n, float* y, Isa isa) { select_kernel(kKernels, isa)(x, n, y); }

void exp(const float* x, int64_t n, float* y) { exp(x, n, y, active_isa()); }

}  // namespace pocketlora
