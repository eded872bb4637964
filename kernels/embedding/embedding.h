#pragma once

#include <cstdint>

#include "kernels/common/isa.h"
#include "kernels/q4/q4.h"

namespace pocketlora {

/// out[i, :] = W[tokens[i], :], dequantized.
/// @param tokens [n_tokens], each in [0, w.rows): the caller has checked them.
/// @param out [n_tokens, w.cols].
void embedding(const int64_t* tokens, int64_t n_tokens, const Q4Matrix& w, float* out);
/// The same with the kernel for one instruction set.
void embedding(const int64_t* tokens, int64_t n_tokens, const Q4Matrix& w, float* out, Isa isa);

using EmbeddingKernel = void (*)(const int64_t* tokens, int64_t n_tokens, const Q4Matrix& w, float* out);

#define PL_KERNEL(isa, function) void function(const int64_t*, int64_t, const Q4Matrix&, float*);
#include "kernels/embedding/kernels.inc"
#undef PL_KERNEL

}  // namespace pocketlora
