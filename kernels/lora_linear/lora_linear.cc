#include "kernels/lora_linear/lora_linear.h"

namespace pocketlora {
namespace {

constexpr KernelEntry<LoraLinearKernel> kKernels[] = {
#define PL_KERNEL(isa, forward, backward) {Isa::isa, #forward, {forward, backward}},
#include "kernels/lora_linear/kernels.inc"
#undef PL_KERNEL
};

/// Kernels see a dropout only where there is something to drop.
const Dropout* effective(const Dropout* dropout) { return dropout != nullptr && dropout->p > 0.0f ? dropout : nullptr; }

}  // namespace

void lora_linear(const float* x, int64_t n_rows, const Q4Matrix& w, const float* bias, const LoraSite& lora,
                 const Dropout* dropout, float* y, Isa isa) {
  select_kernel(kKernels, isa).forward(x, n_rows, w, bias, lora, effective(dropout), y);
}

void lora_linear(const float* x, int64_t n_rows, const Q4Matrix& w, const float* bias, const LoraSite& lora,
                 const Dropout* dropout, float* y) {
  lora_linear(x, n_rows, w, bias, lora, dropout, y, active_isa());
}

void lora_linear_backward(const float* dy, const float* x, int64_t n_rows, const Q4Matrix& w, const LoraSite& lora,
                          const Dropout* dropout, float* dx, float* da, float* db, Isa isa) {
  select_kernel(kKernels, isa).backward(dy, x, n_rows, w, lora, effective(dropout), dx, da, db);
}

void lora_linear_backward(const float* dy, const float* x, int64_t n_rows, const Q4Matrix& w, const LoraSite& lora,
                          const Dropout* dropout, float* dx, float* da, float* db) {
  lora_linear_backward(dy, x, n_rows, w, lora, dropout, dx, da, db, active_isa());
}

}  // namespace pocketlora
