#pragma once

#include <cstdint>

#include "kernels/common/isa.h"

namespace pocketlora {

/** Hyperparameters of Adafactor, with transformers' names; scale_parameter and relative_step are off. */
struct AdafactorOptions {
  double learning_rate;
  double weight_decay;  ///< decoupled
  int64_t step;         ///< 1 for the first step
  double decay_rate = -0.8;
  double epsilon = 1e-30;  ///< added to the squares
  double clip_threshold = 1.0;
};

/**
 * One step of transformers' Adafactor (arXiv 1804.04235) on one matrix, in place, without a first moment:
 *   β = 1 − t^decay_rate   row ← β·row + (1 − β)·mean_j(g² + ε)   col ← β·col + (1 − β)·mean_i(g² + ε)
 *   u = g / √(row / mean(row)) / √col   u ← u / max(1, rms(u) / clip_threshold)   p ← p·(1 − lr·wd) − lr·u
 *
 * @param[in,out] params [rows, cols]
 * @param[in] grads [rows, cols]
 * @param[in,out] row_state [rows], col_state [cols]; start at 0
 */
void adafactor(float* params, const float* grads, float* row_state, float* col_state, int64_t rows, int64_t cols,
               const AdafactorOptions& options);
/** The same with the kernel for one instruction set. */
void adafactor(float* params, const float* grads, float* row_state, float* col_state, int64_t rows, int64_t cols,
               const AdafactorOptions& options, Isa isa);

/** One instruction set's implementation, for some whole rows. */
struct AdafactorKernel {
  /** row_sums[i] = Σ_j g², in double; col_sums[j] = Σ_i g² of these rows. */
  void (*squares)(const float* grads, int64_t rows, int64_t cols, double* row_sums, float* col_sums);
  /** @return Σ u² of u = row_factors[i] · col_factors[j] · g, in double. */
  double (*norm)(const float* grads, const float* row_factors, const float* col_factors, int64_t rows, int64_t cols);
  /** p ← decay·p − step·u. */
  void (*apply)(float* params, const float* grads, const float* row_factors, const float* col_factors, int64_t rows,
                int64_t cols, float decay, float step);
};

#define PL_KERNEL(isa, squares, norm, apply)                               \
  void squares(const float*, int64_t, int64_t, double*, float*);           \
  double norm(const float*, const float*, const float*, int64_t, int64_t); \
  void apply(float*, const float*, const float*, const float*, int64_t, int64_t, float, float);
#include "kernels/adafactor/kernels.inc"
#undef PL_KERNEL

}  // namespace pocketlora
