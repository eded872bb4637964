#pragma once

#include <cstdint>

#include "kernels/common/isa.h"
#include "kernels/lora_linear/dropout.h"
#include "kernels/q4/q4.h"

namespace pocketlora {

/// The adapter of one linear layer. rank = 0: no adapter, the pointers are not read.
struct LoraSite {
  const float* a;      ///< [rank, in_features]
  const float* b;      ///< [out_features, rank]
  const float* scale;  ///< [rank]
  int64_t rank;
};

/// y = x * W^T + bias + ((drop(x) * A^T) o scale) * B^T, o = elementwise over the columns.
/// @param x [n_rows, w.cols]. @param bias [w.rows] or nullptr. @param dropout nullptr = none.
/// @param y [n_rows, w.rows], overwritten.
void lora_linear(const float* x, int64_t n_rows, const Q4Matrix& w, const float* bias, const LoraSite& lora,
                 const Dropout* dropout, float* y);
/// The same with the kernel for one instruction set.
void lora_linear(const float* x, int64_t n_rows, const Q4Matrix& w, const float* bias, const LoraSite& lora,
                 const Dropout* dropout, float* y, Isa isa);

/// The gradients of lora_linear. With s = (dy * B) o scale and t = (drop(x) * A^T) o scale:
///   dx = dy * W + drop'(s * A)     da = s^T * drop(x)     db = dy^T * t
/// where drop' applies the mask of drop. All outputs are overwritten.
/// @param dy [n_rows, w.rows]. @param x [n_rows, w.cols]. @param dx [n_rows, w.cols].
/// @param da [rank, w.cols]. @param db [w.rows, rank]. With rank = 0 da and db are not written.
void lora_linear_backward(const float* dy, const float* x, int64_t n_rows, const Q4Matrix& w, const LoraSite& lora,
                          const Dropout* dropout, float* dx, float* da, float* db);
/// The same with the kernel for one instruction set.
void lora_linear_backward(const float* dy, const float* x, int64_t n_rows, const Q4Matrix& w, const LoraSite& lora,
                          const Dropout* dropout, float* dx, float* da, float* db, Isa isa);

struct LoraLinearKernel {
  void (*forward)(const float* x, int64_t n_rows, const Q4Matrix& w, const float* bias, const LoraSite& lora,
                  const Dropout* dropout, float* y);
  void (*backward)(const float* dy, const float* x, int64_t n_rows, const Q4Matrix& w, const LoraSite& lora,
                   const Dropout* dropout, float* dx, float* da, float* db);
};

#define PL_KERNEL(isa, forward, backward)                                                                              \
  void forward(const float*, int64_t, const Q4Matrix&, const float*, const LoraSite&, const Dropout*, float*);         \
  void backward(const float*, const float*, int64_t, const Q4Matrix&, const LoraSite&, const Dropout*, float*, float*, \
                float*);
#include "kernels/lora_linear/kernels.inc"
#undef PL_KERNEL

}  // namespace pocketlora
