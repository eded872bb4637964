#pragma once

#include <cstdint>

#include "kernels/common/isa.h"
#include "kernels/optim/optim.h"

namespace pocketlora {

/** Values that share one scale. */
constexpr int64_t kMomentBlock = 256;

/** One moment in 8 bits: value = map[code] · scale of its block, with the map of dynamic_map.h. Starts at zeros. */
struct Moment8 {
  uint8_t* codes;  ///< [n]
  float* scales;   ///< [n / 256]: the largest magnitude of the block, at least 1e-12
};

/**
 * One step of torchao.optim.AdamW8bit (block-wise 8-bit moments, arXiv 2110.02861), in place. The moments are decoded,
 * moved as in adamw(), used in fp32 for the update, and stored again in 8 bits:
 *   m ← m + (1 − β1)(g − m)   v ← v + (1 − β2)(g² − v)   p ← p·(1 − lr·wd) − lr · (m / (1 − β1^t)) / (√v / √(1 − β2^t)
 * + ε)
 *
 * @param[in,out] params [n]
 * @param[in] grads [n]
 * @param[in,out] first signed map; second: unsigned map
 * @param n a multiple of kMomentBlock
 */
void adamw8bit(float* params, const float* grads, const Moment8& first, const Moment8& second, int64_t n,
               const AdamWOptions& options);
/** The same with the kernel for one instruction set. */
void adamw8bit(float* params, const float* grads, const Moment8& first, const Moment8& second, int64_t n,
               const AdamWOptions& options, Isa isa);

/** Scalars of one step. */
struct AdamW8Scalars {
  float decay, one_minus_beta1, one_minus_beta2, bias_correction1, bias_correction2_sqrt, epsilon, learning_rate;
};

/** One instruction set's implementation, for one thread's share: n is a multiple of kMomentBlock. */
struct AdamW8Kernel {
  void (*step)(float* params, const float* grads, const Moment8& first, const Moment8& second, int64_t n,
               const AdamW8Scalars& scalars);
};

#define PL_KERNEL(isa, step) \
  void step(float*, const float*, const Moment8&, const Moment8&, int64_t, const AdamW8Scalars&);
#include "kernels/adamw8bit/kernels.inc"
#undef PL_KERNEL

}  // namespace pocketlora
