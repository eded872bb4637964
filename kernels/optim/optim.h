#pragma once

#include <cstdint>

#include "kernels/common/isa.h"

namespace pocketlora {

/** Hyperparameters of AdamW, with PyTorch's names and meanings. Doubles, as PyTorch computes its scalars. */
struct AdamWOptions {
  double learning_rate;
  double beta1;
  double beta2;
  double epsilon;
  double weight_decay;  ///< decoupled
  int64_t step;         ///< 1 for the first step
};

/**
 * One step of torch.optim.AdamW, in place:
 *   p ← p · (1 − lr·wd)   m ← m + (1 − β1)(g − m)   v ← β2·v + (1 − β2)·g²
 *   p ← p − lr / (1 − β1^t) · m / (sqrt(v) / sqrt(1 − β2^t) + ε)
 *
 * @param[in,out] params,first_moment,second_moment [n]; moments start at 0
 * @param[in] grads [n]
 */
void adamw(float* params, const float* grads, float* first_moment, float* second_moment, int64_t n,
           const AdamWOptions& options);
/** The same with the kernel for one instruction set. */
void adamw(float* params, const float* grads, float* first_moment, float* second_moment, int64_t n,
           const AdamWOptions& options, Isa isa);

/** Hyperparameters of SGD, with PyTorch's names and meanings (no dampening, no Nesterov). */
struct SgdOptions {
  double learning_rate;
  double momentum;
  double weight_decay;  ///< added to the gradient (L2), as torch.optim.SGD does
};

/**
 * One step of torch.optim.SGD, in place: g ← g + wd·p; b ← μ·b + g; p ← p − lr·b (p − lr·g without momentum).
 *
 * @param[in,out] params [n]
 * @param[in] grads [n]
 * @param[in,out] momentum_buffer [n], starts at 0; may be null when momentum is 0
 */
void sgd(float* params, const float* grads, float* momentum_buffer, int64_t n, const SgdOptions& options);
/** The same with the kernel for one instruction set. */
void sgd(float* params, const float* grads, float* momentum_buffer, int64_t n, const SgdOptions& options, Isa isa);

/** Hyperparameters of Lion, with the paper's names (arXiv 2302.06675, algorithm 2). */
struct LionOptions {
  double learning_rate;
  double beta1;
  double beta2;
  double weight_decay;  ///< decoupled
};

/**
 * One step of Lion, in place: p ← p · (1 − lr·wd) − lr · sign(β1·m + (1 − β1)·g); m ← β2·m + (1 − β2)·g.
 *
 * @param[in,out] params,momentum [n]; the momentum starts at 0
 * @param[in] grads [n]
 */
void lion(float* params, const float* grads, float* momentum, int64_t n, const LionOptions& options);
/** The same with the kernel for one instruction set. */
void lion(float* params, const float* grads, float* momentum, int64_t n, const LionOptions& options, Isa isa);

/** @return Σ values², summed in double in an order that does not depend on the number of threads. NaN and Inf
 * propagate. */
double squared_norm(const float* values, int64_t n);
/** The same with the kernel for one instruction set. */
double squared_norm(const float* values, int64_t n, Isa isa);

/** Scalars of one AdamW step, rounded to fp32 where PyTorch rounds them. */
struct AdamWScalars {
  float decay, one_minus_beta1, beta2, one_minus_beta2, bias_correction2_sqrt, epsilon, step_size;
};

/** Scalars of one SGD step. */
struct SgdScalars {
  float learning_rate, momentum, weight_decay;
};

/** Scalars of one Lion step. */
struct LionScalars {
  float decay, learning_rate, beta1, one_minus_beta1, beta2, one_minus_beta2;
};

/** One instruction set's implementation, for one thread's share of the elements. */
struct OptimKernel {
  void (*adamw)(float* params, const float* grads, float* first_moment, float* second_moment, int64_t n,
                const AdamWScalars& scalars);
  void (*sgd)(float* params, const float* grads, float* momentum_buffer, int64_t n, const SgdScalars& scalars);
  void (*lion)(float* params, const float* grads, float* momentum, int64_t n, const LionScalars& scalars);
  double (*squared_norm)(const float* values, int64_t n);
};

#define PL_KERNEL(isa, adamw, sgd, lion, squared_norm)                            \
  void adamw(float*, const float*, float*, float*, int64_t, const AdamWScalars&); \
  void sgd(float*, const float*, float*, int64_t, const SgdScalars&);             \
  void lion(float*, const float*, float*, int64_t, const LionScalars&);           \
  double squared_norm(const float*, int64_t);
#include "kernels/optim/kernels.inc"
#undef PL_KERNEL

}  // namespace pocketlora
