#include "kernels/layer_norm/layer_norm.h"

#include "kernels/common/parallel.h"

namespace pocketlora {
namespace {

constexpr KernelEntry<LayerNormKernel> kKernels[] = {
#define PL_KERNEL(isa, forward, backward) {Isa::isa, #forward, {forward, backward}},
#include "kernels/layer_norm/kernels.inc"
#undef PL_KERNEL
};

constexpr int64_t kRowsPerTask = 8;

}  // namespace

void layer_norm(const float* x, const float* weight, const float* bias, float eps, int64_t n_rows, int64_t width,
                float* y, Isa isa) {
  const LayerNormKernel& kernel = select_kernel(kKernels, isa);
  parallel_for(0, n_rows, kRowsPerTask, [&](int64_t begin, int64_t end) {
    kernel.forward(x + begin * width, weight, bias, eps, end - begin, width, y + begin * width);
  });
}

void layer_norm(const float* x, const float* weight, const float* bias, float eps, int64_t n_rows, int64_t width,
                float* y) {
  layer_norm(x, weight, bias, eps, n_rows, width, y, active_isa());
}

void layer_norm_backward(const float* dy, const float* x, const float* weight, float eps, int64_t n_rows, int64_t width,
                         float* dx, Isa isa) {
  const LayerNormKernel& kernel = select_kernel(kKernels, isa);
  parallel_for(0, n_rows, kRowsPerTask, [&](int64_t begin, int64_t end) {
    const int64_t offset = begin * width;
    kernel.backward(dy + offset, x + offset, weight, eps, end - begin, width, dx + offset);
  });
}

void layer_norm_backward(const float* dy, const float* x, const float* weight, float eps, int64_t n_rows, int64_t width,
                         float* dx) {
  layer_norm_backward(dy, x, weight, eps, n_rows, width, dx, active_isa());
}

}  // namespace pocketlora
