#include "kernels/adamw8bit/adamw8bit.h"

#include <cmath>

#include "kernels/common/parallel.h"

namespace pocketlora {
namespace {

constexpr KernelEntry<AdamW8Kernel> kKernels[] = {
#define PL_KERNEL(isa, step) {Isa::isa, #step, {step}},
#include "kernels/adamw8bit/kernels.inc"
#undef PL_KERNEL
};

// Blocks of moments that a task takes at least.
constexpr int64_t kGrain = 16;

AdamW8Scalars scalars_of(const AdamWOptions& o) {
  AdamW8Scalars s;
  s.decay = static_cast<float>(1.0 - o.learning_rate * o.weight_decay);
  s.one_minus_beta1 = static_cast<float>(1.0 - o.beta1);
  s.one_minus_beta2 = static_cast<float>(1.0 - o.beta2);
  s.bias_correction1 = static_cast<float>(1.0 - std::pow(o.beta1, static_cast<double>(o.step)));
  s.bias_correction2_sqrt = static_cast<float>(std::sqrt(1.0 - std::pow(o.beta2, static_cast<double>(o.step))));
  s.epsilon = static_cast<float>(o.epsilon);
  s.learning_rate = static_cast<float>(o.learning_rate);
  return s;
}

Moment8 at_block(const Moment8& moment, int64_t block) {
  return {moment.codes + block * kMomentBlock, moment.scales + block};
}

}  // namespace

void adamw8bit(float* params, const float* grads, const Moment8& first, const Moment8& second, int64_t n,
               const AdamWOptions& options, Isa isa) {
  const AdamW8Kernel& kernel = select_kernel(kKernels, isa);
  const AdamW8Scalars scalars = scalars_of(options);
  parallel_for(0, n / kMomentBlock, kGrain, [&](int64_t begin, int64_t end) {
    const int64_t at = begin * kMomentBlock;
    kernel.step(params + at, grads + at, at_block(first, begin), at_block(second, begin), (end - begin) * kMomentBlock,
                scalars);
  });
}

void adamw8bit(float* params, const float* grads, const Moment8& first, const Moment8& second, int64_t n,
               const AdamWOptions& options) {
  adamw8bit(params, grads, first, second, n, options, active_isa());
}

}  // namespace pocketlora
