#include "kernels/optim/optim.h"

#include <algorithm>
#include <cmath>

#include "kernels/common/parallel.h"
#include "kernels/common/scratch.h"

namespace pocketlora {
namespace {

constexpr KernelEntry<OptimKernel> kKernels[] = {
#define PL_KERNEL(isa, adamw, sgd, lion, squared_norm) {Isa::isa, #adamw, {adamw, sgd, lion, squared_norm}},
#include "kernels/optim/kernels.inc"
#undef PL_KERNEL
};

// Tasks begin at multiples of it: neither an element's place in a vector nor a partial sum depends on the threads.
constexpr int64_t kBlock = 16384;

int64_t num_blocks(int64_t n) { return (n + kBlock - 1) / kBlock; }

AdamWScalars scalars_of(const AdamWOptions& o) {
  const double correction1 = 1.0 - std::pow(o.beta1, static_cast<double>(o.step));
  const double correction2 = 1.0 - std::pow(o.beta2, static_cast<double>(o.step));
  AdamWScalars s;
  s.decay = static_cast<float>(1.0 - o.learning_rate * o.weight_decay);
  s.one_minus_beta1 = static_cast<float>(1.0 - o.beta1);
  s.beta2 = static_cast<float>(o.beta2);
  s.one_minus_beta2 = static_cast<float>(1.0 - o.beta2);
  s.bias_correction2_sqrt = static_cast<float>(std::sqrt(correction2));
  s.epsilon = static_cast<float>(o.epsilon);
  s.step_size = static_cast<float>(o.learning_rate / correction1);
  return s;
}

}  // namespace

void adamw(float* params, const float* grads, float* first_moment, float* second_moment, int64_t n,
           const AdamWOptions& options, Isa isa) {
  const OptimKernel& kernel = select_kernel(kKernels, isa);
  const AdamWScalars scalars = scalars_of(options);
  parallel_for(0, num_blocks(n), 1, [&](int64_t begin, int64_t end) {
    const int64_t at = begin * kBlock, count = std::min(end * kBlock, n) - at;
    kernel.adamw(params + at, grads + at, first_moment + at, second_moment + at, count, scalars);
  });
}

void adamw(float* params, const float* grads, float* first_moment, float* second_moment, int64_t n,
           const AdamWOptions& options) {
  adamw(params, grads, first_moment, second_moment, n, options, active_isa());
}

void sgd(float* params, const float* grads, float* momentum_buffer, int64_t n, const SgdOptions& options, Isa isa) {
  const OptimKernel& kernel = select_kernel(kKernels, isa);
  const SgdScalars scalars{static_cast<float>(options.learning_rate), static_cast<float>(options.momentum),
                           static_cast<float>(options.weight_decay)};
  parallel_for(0, num_blocks(n), 1, [&](int64_t begin, int64_t end) {
    const int64_t at = begin * kBlock, count = std::min(end * kBlock, n) - at;
    float* buffer = options.momentum != 0 ? momentum_buffer + at : nullptr;
    kernel.sgd(params + at, grads + at, buffer, count, scalars);
  });
}

void sgd(float* params, const float* grads, float* momentum_buffer, int64_t n, const SgdOptions& options) {
  sgd(params, grads, momentum_buffer, n, options, active_isa());
}

void lion(float* params, const float* grads, float* momentum, int64_t n, const LionOptions& options, Isa isa) {
  const OptimKernel& kernel = select_kernel(kKernels, isa);
  const LionScalars scalars{static_cast<float>(1.0 - options.learning_rate * options.weight_decay),
                            static_cast<float>(options.learning_rate),
                            static_cast<float>(options.beta1),
                            static_cast<float>(1.0 - options.beta1),
                            static_cast<float>(options.beta2),
                            static_cast<float>(1.0 - options.beta2)};
  parallel_for(0, num_blocks(n), 1, [&](int64_t begin, int64_t end) {
    const int64_t at = begin * kBlock, count = std::min(end * kBlock, n) - at;
    kernel.lion(params + at, grads + at, momentum + at, count, scalars);
  });
}

void lion(float* params, const float* grads, float* momentum, int64_t n, const LionOptions& options) {
  lion(params, grads, momentum, n, options, active_isa());
}

double squared_norm(const float* values, int64_t n, Isa isa) {
  const OptimKernel& kernel = select_kernel(kKernels, isa);
  ScratchFrame scratch;
  double* partial = scratch.doubles(num_blocks(n));
  parallel_for(0, num_blocks(n), 1, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      partial[block] = kernel.squared_norm(values + block * kBlock, std::min(kBlock, n - block * kBlock));
    }
  });
  double sum = 0;
  for (int64_t block = 0; block < num_blocks(n); ++block) sum += partial[block];
  return sum;
}

double squared_norm(const float* values, int64_t n) { return squared_norm(values, n, active_isa()); }

}  // namespace pocketlora
