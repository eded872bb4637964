#pragma once

#include <cstdint>

#include "kernels/common/isa.h"
#include "kernels/q4/q4.h"

namespace pocketlora {

/// The label of a row that takes no part.
constexpr int64_t kIgnoredLabel = -100;

/// LM head and cross-entropy in one pass over the vocabulary. With l = h * W^T + bias, z = l, or softcap * tanh(l /
/// softcap) where softcap > 0, s = dz / dl = 1 - (z / softcap)^2, or 1, and p = softmax(z) of each row:
///   logprobs[i] = log p[i, labels[i]]   (0 for an ignored row)
///   loss = sum_i weights[i] * -logprobs[i]
///   dh[i] = weights[i] * ((p[i] * s[i]) * W - s[i, labels[i]] * W[labels[i]])   (0 for an ignored row)
/// The vocabulary is walked in chunks with a running maximum and sum; dh is rescaled when the maximum moves, so that
/// neither logits nor probabilities of the whole vocabulary ever exist. Sums over rows are in double. Both products
/// with W are computed as active_compute() says (q4/compute.h).
/// @param h [n_rows, w.cols]. @param bias [w.rows] or nullptr.
/// @param labels [n_rows], each kIgnoredLabel or in [0, w.rows): the caller has checked them. @param weights [n_rows].
/// @param logprobs [n_rows]. @param loss [1]. @param dh [n_rows, w.cols]. All overwritten.
void head_loss(const float* h, int64_t n_rows, const Q4Matrix& w, const float* bias, float softcap,
               const int64_t* labels, const float* weights, float* logprobs, float* loss, float* dh);
/// The same with the kernel for one instruction set.
void head_loss(const float* h, int64_t n_rows, const Q4Matrix& w, const float* bias, float softcap,
               const int64_t* labels, const float* weights, float* logprobs, float* loss, float* dh, Isa isa);

using HeadLossKernel = void (*)(const float* h, int64_t n_rows, const Q4Matrix& w, const float* bias, float softcap,
                                const int64_t* labels, const float* weights, float* logprobs, float* loss, float* dh);

#define PL_KERNEL(isa, function)                                                                                   \
  void function(const float*, int64_t, const Q4Matrix&, const float*, float, const int64_t*, const float*, float*, \
                float*, float*);
#include "kernels/head_loss/kernels.inc"
#undef PL_KERNEL

}  // namespace pocketlora
