#pragma once

#include <cstdint>

#include "kernels/common/isa.h"

namespace pocketlora {

/**
 * Root-mean-square norm of every row: y = x · r · weight with r = 1 / sqrt(mean(x²) + eps).
 *
 * @param[in] x [n_rows, width]
 * @param[in] weight [width]
 * @param[out] y [n_rows, width]; may be x
 */
void rms_norm(const float* x, const float* weight, float eps, int64_t n_rows, int64_t width, float* y);
/** The same with the kernel for one instruction set. */
void rms_norm(const float* x, const float* weight, float eps, int64_t n_rows, int64_t width, float* y, Isa isa);

/**
 * Gradient with respect to x: dx = r · dy · weight − x · r³ · mean(dy · weight · x); r is recomputed.
 *
 * @param[in] dy,x [n_rows, width]
 * @param[in] weight [width]
 * @param[out] dx [n_rows, width]; may be dy or x
 */
void rms_norm_backward(const float* dy, const float* x, const float* weight, float eps, int64_t n_rows, int64_t width,
                       float* dx);
/** The same with the kernel for one instruction set. */
void rms_norm_backward(const float* dy, const float* x, const float* weight, float eps, int64_t n_rows, int64_t width,
                       float* dx, Isa isa);

/** One instruction set's implementation, for one thread's share of the rows. */
struct RmsNormKernel {
  void (*forward)(const float* x, const float* weight, float eps, int64_t n_rows, int64_t width, float* y);
  void (*backward)(const float* dy, const float* x, const float* weight, float eps, int64_t n_rows, int64_t width,
                   float* dx);
};

#define PL_KERNEL(isa, forward, backward)                                    \
  void forward(const float*, const float*, float, int64_t, int64_t, float*); \
  void backward(const float*, const float*, const float*, float, int64_t, int64_t, float*);
#include "kernels/rms_norm/kernels.inc"
#undef PL_KERNEL

}  // namespace pocketlora
