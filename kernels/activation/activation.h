#pragma once

#include <cstdint>

#include "kernels/common/isa.h"

namespace pocketlora {

/** Activations of the form a(x) = x · σ(z(x)), whose slope is a'(x) = σ + x · σ · (1 − σ) · z'(x) with σ = σ(z(x)). */
enum class Activation {
  kSilu,      ///< z(x) = x
  kGeluTanh,  ///< z(x) = 2·√(2/π) · (x + 0.044715·x³): GELU with its tanh, since (1 + tanh u) / 2 = σ(2u)
};

/**
 * y = a(gate) · up, element by element.
 *
 * @param[in] gate,up [n]
 * @param[out] y [n]; may be gate or up
 */
void gated(Activation activation, const float* gate, const float* up, int64_t n, float* y);
/** The same with the kernel for one instruction set. */
void gated(Activation activation, const float* gate, const float* up, int64_t n, float* y, Isa isa);

/**
 * Gradients: dgate = dy · up · a'(gate) and dup = dy · a(gate).
 *
 * @param[in] dy,gate,up [n]
 * @param[out] dgate,dup [n]; each may be one of the inputs
 */
void gated_backward(Activation activation, const float* dy, const float* gate, const float* up, int64_t n, float* dgate,
                    float* dup);
/** The same with the kernel for one instruction set. */
void gated_backward(Activation activation, const float* dy, const float* gate, const float* up, int64_t n, float* dgate,
                    float* dup, Isa isa);

/**
 * y = a(x), element by element.
 *
 * @param[in] x [n]
 * @param[out] y [n]; may be x
 */
void activate(Activation activation, const float* x, int64_t n, float* y);
/** The same with the kernel for one instruction set. */
void activate(Activation activation, const float* x, int64_t n, float* y, Isa isa);

/**
 * Gradient: dx = dy · a'(x).
 *
 * @param[in] dy,x [n]
 * @param[out] dx [n]; may be dy or x
 */
void activate_backward(Activation activation, const float* dy, const float* x, int64_t n, float* dx);
/** The same with the kernel for one instruction set. */
void activate_backward(Activation activation, const float* dy, const float* x, int64_t n, float* dx, Isa isa);

/**
 * y = cap · tanh(x / cap), element by element: a bound that logits approach.
 *
 * @param[in] x [n]
 * @param cap positive
 * @param[out] y [n]; may be x
 */
void soft_cap(const float* x, int64_t n, float cap, float* y);
/** The same with the kernel for one instruction set. */
void soft_cap(const float* x, int64_t n, float cap, float* y, Isa isa);

/** One instruction set's implementation, for one thread's share of the elements. */
struct ActivationKernel {
  /** a(gate) · up; a(gate) where up is null. */
  void (*forward)(Activation activation, const float* gate, const float* up, int64_t n, float* y);
  /** dgate and dup; dgate alone, for an up of 1, where up and dup are null. */
  void (*backward)(Activation activation, const float* dy, const float* gate, const float* up, int64_t n, float* dgate,
                   float* dup);
  void (*cap)(const float* x, int64_t n, float cap, float* y);
};

#define PL_KERNEL(isa, forward, backward, cap)                                                  \
  void forward(Activation, const float*, const float*, int64_t, float*);                        \
  void backward(Activation, const float*, const float*, const float*, int64_t, float*, float*); \
  void cap(const float*, int64_t, float, float*);
#include "kernels/activation/kernels.inc"
#undef PL_KERNEL

}  // namespace pocketlora
