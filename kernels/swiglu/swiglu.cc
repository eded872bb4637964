#include "kernels/swiglu/swiglu.h"

#include "kernels/common/parallel.h"

namespace pocketlora {
namespace {

constexpr KernelEntry<SwigluKernel> kKernels[] = {
#define PL_KERNEL(isa, forward, backward) {Isa::isa, #forward, {forward, backward}},
#include "kernels/swiglu/kernels.inc"
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

void swiglu(const float* gate, const float* up, int64_t n, float* y, Isa isa) {
  const SwigluKernel& kernel = select_kernel(kKernels, isa);
  for_blocks(n, [&](int64_t first, int64_t count) { kernel.forward(gate + first, up + first, count, y + first); });
}

void swiglu(const float* gate, const float* up, int64_t n, float* y) { swiglu(gate, up, n, y, active_isa()); }

void swiglu_backward(const float* dy, const float* gate, const float* up, int64_t n, float* dgate, float* dup,
                     Isa isa) {
  const SwigluKernel& kernel = select_kernel(kKernels, isa);
  for_blocks(n, [&](int64_t first, int64_t count) {
    kernel.backward(dy + first, gate + first, up + first, count, dgate + first, dup + first);
  });
}

void swiglu_backward(const float* dy, const float* gate, const float* up, int64_t n, float* dgate, float* dup) {
  swiglu_backward(dy, gate, up, n, dgate, dup, active_isa());
}

}  // namespace pocketlora
