#pragma once

#include <cstdint>

#include "kernels/common/isa.h"

namespace pocketlora {

/**
 * Layer norm of every row: y = (x − m) · r · weight + bias with m = mean(x) and r = 1 / sqrt(mean((x − m)²) + eps).
 *
 * @param[in] x [n_rows, width]
 * @param[in] weight [width], or null for ones
 * @param[in] bias [width], or null for zeros
 * @param[out] y [n_rows, width]; may be x
 */
void layer_norm(const float* x, const float* weight, const float* bias, float eps, int64_t n_rows, int64_t width,
                float* y);
/** The same with the kernel for one instruction set. */
void layer_norm(const float* x, const float* weight, const float* bias, float eps, int64_t n_rows, int64_t width,
                float* y, Isa isa);

/**
 * Gradient with respect to x: dx = r · (g − mean(g) − n · mean(g · n)) with g = dy · weight and n = (x − m) · r, which
 * are recomputed.
 *
 * @param[in] dy,x [n_rows, width]
 * @param[in] weight [width], or null for ones
 * @param[out] dx [n_rows, width]; may be dy or x
 */
void layer_norm_backward(const float* dy, const float* x, const float* weight, float eps, int64_t n_rows, int64_t width,
                         float* dx);
/** The same with the kernel for one instruction set. */
void layer_norm_backward(const float* dy, const float* x, const float* weight, float eps, int64_t n_rows, int64_t width,
                         float* dx, Isa isa);

/** One instruction set's implementation, for one thread's share of the rows. */
struct LayerNormKernel {
  void (*forward)(const float* x, const float* weight, const float* bias, float eps, int64_t n_rows, int64_t width,
                  float* y);
  void (*backward)(const float* dy, const float* x, const float* weight, float eps, int64_t n_rows, int64_t width,
                   float* dx);
};

#define PL_KERNEL(isa, forward, backward)                                                  \
  void forward(const float*, const float*, const float*, float, int64_t, int64_t, float*); \
  void backward(const float*, const float*, const float*, float, int64_t, int64_t, float*);
#include "kernels/layer_norm/kernels.inc"
#undef PL_KERNEL

}  // namespace pocketlora
