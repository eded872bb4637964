#include "kernels/activation/activation.h"

#include "kernels/common/parallel.h"

namespace pocketlora {
namespace {

constexpr KernelEntry<ActivationKernel> kKernels[] = {
#define PL_KERNEL(isa, forward, backward, cap) {Isa::isa, #forward, {forward, backward, cap}},
#include "kernels/activation/kernels.inc"
#undef PL_KERNEL
};

// Elements in a task; tasks begin at its multiples, so that an element's place in a vector does not depend on the
// threads.
constexpr int64_t kBlock = 4096;

/** Calls f(first, count) for the part of [0, n) that lies in the blocks [begin, end). */
template <class F>
void for_blocks(int64_t n, F f) {
  parallel_for(0, (n + kBlock - 1) / kBlock, 4, [&](int64_t begin, int64_t end) {
    const int64_t last = end * kBlock < n ? end * kBlock : n;
    f(begin * kBlock, last - begin * kBlock);
  });
}

}  // namespace

void gated(Activation activation, const float* gate, const float* up, int64_t n, float* y, Isa isa) {
  const ActivationKernel& kernel = select_kernel(kKernels, isa);
  for_blocks(
      n, [&](int64_t first, int64_t count) { kernel.forward(activation, gate + first, up + first, count, y + first); });
}

void gated(Activation activation, const float* gate, const float* up, int64_t n, float* y) {
  gated(activation, gate, up, n, y, active_isa());
}

void gated_backward(Activation activation, const float* dy, const float* gate, const float* up, int64_t n, float* dgate,
                    float* dup, Isa isa) {
  const ActivationKernel& kernel = select_kernel(kKernels, isa);
  for_blocks(n, [&](int64_t first, int64_t count) {
    kernel.backward(activation, dy + first, gate + first, up + first, count, dgate + first, dup + first);
  });
}

void gated_backward(Activation activation, const float* dy, const float* gate, const float* up, int64_t n, float* dgate,
                    float* dup) {
  gated_backward(activation, dy, gate, up, n, dgate, dup, active_isa());
}

void activate(Activation activation, const float* x, int64_t n, float* y, Isa isa) {
  const ActivationKernel& kernel = select_kernel(kKernels, isa);
  for_blocks(n,
             [&](int64_t first, int64_t count) { kernel.forward(activation, x + first, nullptr, count, y + first); });
}

void activate(Activation activation, const float* x, int64_t n, float* y) {
  activate(activation, x, n, y, active_isa());
}

void activate_backward(Activation activation, const float* dy, const float* x, int64_t n, float* dx, Isa isa) {
  const ActivationKernel& kernel = select_kernel(kKernels, isa);
  for_blocks(n, [&](int64_t first, int64_t count) {
    kernel.backward(activation, dy + first, x + first, nullptr, count, dx + first, nullptr);
  });
}

void activate_backward(Activation activation, const float* dy, const float* x, int64_t n, float* dx) {
  activate_backward(activation, dy, x, n, dx, active_isa());
}

void soft_cap(const float* x, int64_t n, float cap, float* y, Isa isa) {
  const ActivationKernel& kernel = select_kernel(kKernels, isa);
  for_blocks(n, [&](int64_t first, int64_t count) { kernel.cap(x + first, count, cap, y + first); });
}

void soft_cap(const float* x, int64_t n, float cap, float* y) { soft_cap(x, n, cap, y, active_isa()); }

}  // namespace pocketlora
