#pragma once

#include <cstdint>

#include "kernels/common/isa.h"
#include "kernels/q4/q4.h"

namespace pocketlora {

/// y = x * W^T + bias.
/// @param x [n_rows, w.cols]. @param bias [w.rows] or nullptr. @param y [n_rows, w.rows], overwritten.
void linear4(const float* x, int64_t n_rows, const Q4Matrix& w, const float* bias, float* y);
/// The same with the kernel for one instruction set.
void linear4(const float* x, int64_t n_rows, const Q4Matrix& w, const float* bias, float* y, Isa isa);

/// dx = dy * W.
/// @param dy [n_rows, w.rows]. @param dx [n_rows, w.cols], overwritten.
void linear4_backward(const float* dy, int64_t n_rows, const Q4Matrix& w, float* dx);
/// The same with the kernel for one instruction set.
void linear4_backward(const float* dy, int64_t n_rows, const Q4Matrix& w, float* dx, Isa isa);

struct Linear4Kernel {
  void (*forward)(const float* x, int64_t n_rows, const Q4Matrix& w, const float* bias, float* y);
  void (*backward)(const float* dy, int64_t n_rows, const Q4Matrix& w, float* dx);
};

#define PL_KERNEL(isa, forward, backward)                                     \
  void forward(const float*, int64_t, const Q4Matrix&, const float*, float*); \
  void backward(const float*, int64_t, const Q4Matrix&, float*);
#include "kernels/linear4/kernels.inc"
#undef PL_KERNEL

}  // namespace pocketlora
