#pragma once

#include <cstdint>

#include "kernels/common/isa.h"

namespace pocketlora {

/**
 * Rotary table: row i holds scaling · cos(p·f) of every frequency, then scaling · sin(p·f), with p = positions[i].
 * The angle is one fp32 product, as Hugging Face computes it.
 *
 * @param[in] positions [n_rows]
 * @param[in] inv_freq [half]
 * @param[out] table [n_rows, 2 · half]
 */
void rope_table(const int64_t* positions, const float* inv_freq, float scaling, int64_t n_rows, int64_t half,
                float* table);

/** Sizes of one rotation. */
struct RopeShape {
  int64_t n_rows;
  int64_t num_heads;
  int64_t head_dim;
  int64_t rotary_dim;  ///< even, at most head_dim; the rest of each head is copied
};

/**
 * Rotates the first rotary_dim entries of each head, halves convention (Hugging Face `rotate_half`). With h =
 * rotary_dim / 2: y[j]     = x[j] · cos[j] − x[j + h] · sin[j] y[j + h] = x[j + h] · cos[j] + x[j] · sin[j] `inverse`
 * negates sin, which is the gradient.
 *
 * @param[in] x [n_rows, num_heads · head_dim]
 * @param[in] table [n_rows, rotary_dim] of rope_table
 * @param[out] y as x; may be x
 */
void rope(const float* x, const float* table, const RopeShape& shape, bool inverse, float* y);
/** The same with the kernel for one instruction set. */
void rope(const float* x, const float* table, const RopeShape& shape, bool inverse, float* y, Isa isa);

/** One instruction set's implementation, for one thread's share of the rows. */
using RopeKernel = void (*)(const float* x, const float* table, const RopeShape& shape, bool inverse, float* y);

#define PL_KERNEL(isa, function) void function(const float*, const float*, const RopeShape&, bool, float*);
#include "kernels/rope/kernels.inc"
#undef PL_KERNEL

}  // namespace pocketlora
