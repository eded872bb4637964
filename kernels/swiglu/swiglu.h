#pragma once

#include <cstdint>

#include "kernels/common/isa.h"

namespace pocketlora {

/**
 * y = silu(gate) · up with silu(g) = g · σ(g), element by element.
 *
 * @param[in] gate,up [n]
 * @param[out] y [n]; may be gate or up
 */
void swiglu(const float* gate, const float* up, int64_t n, float* y);
/** The same with the kernel for one instruction set. */
void swiglu(const float* gate, const float* up, int64_t n, float* y, Isa isa);

/**
 * Gradients: dgate = dy · up · σ(g) · (1 + g · (1 − σ(g))) and dup = dy · g · σ(g).
 *
 * @param[in] dy,gate,up [n]
 * @param[out] dgate,dup [n]; each may be one of the inputs
 */
void swiglu_backward(const float* dy, const float* gate, const float* up, int64_t n, float* dgate, float* dup);
/** The same with the kernel for one instruction set. */
void swiglu_backward(const float* dy, const float* gate, const float* up, int64_t n, float* dgate, float* dup, Isa isa);

/** One instruction set's implementation, for one thread's share of the elements. */
struct SwigluKernel {
  void (*forward)(const float* gate, const float* up, int64_t n, float* y);
  void (*backward)(const float* dy, const float* gate, const float* up, int64_t n, float* dgate, float* dup);
};

#define PL_KERNEL(isa, forward, backward)                    \
  void forward(const float*, const float*, int64_t, float*); \
  void backward(const float*, const float*, const float*, int64_t, float*, float*);
#include "kernels/swiglu/kernels.inc"
#undef PL_KERNEL

}  // namespace pocketlora
