#include "kernels/rms_norm/rms_norm.h"

#include "kernels/common/parallel.h"

namespace pocketlora {
namespace {

constexpr KernelEntry<RmsNormKernel> kKernels[] = {
#define PL_KERNEL(isa, forward, backward) {Isa::isa, #forward, {forward, backward}},
#include "kernels/rms_norm/kernels.inc"
#undef PL_KERNEL
};

constexpr int64_t kRowsPerTask = 8;

}  // namespace

void rms_norm(const float* x, const float* weight, float eps, int64_t n_rows, int64_t width, float* y, Isa isa) {
  const RmsNormKernel& kernel = select_kernel(kKernels, isa);
  parallel_for(0, n_rows, kRowsPerTask, [&](int64_t begin, int64_t end) {
    kernel.forward(x + begin * width, weight, eps, end - begin, width, y + begin * width);
  });
}

void rms_norm(const float* x, const float* weight, float eps, int64_t n_rows, int64_t width, float* y) {
  rms_norm(x, weight, eps, n_rows, width, y, active_isa());
}

void rms_norm_backward(const float* dy, const float* x, const float* weight, float eps, int64_t n_rows, int64_t width,
                       float* dx, Isa isa) {
  const RmsNormKernel& kernel = select_kernel(kKernels, isa);
  parallel_for(0, n_rows, kRowsPerTask, [&](int64_t begin, int64_t end) {
    const int64_t offset = begin * width;
    kernel.backward(dy + offset, x + offset, weight, eps, end - begin, width, dx + offset);
  });
}

void rms_norm_backward(const float* dy, const float* x, const float* weight, float eps, int64_t n_rows, int64_t width,
                       float* dx) {
  rms_norm_backward(dy, x, weight, eps, n_rows, width, dx, active_isa());
}

}  // namespace pocketlora
