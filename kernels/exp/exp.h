#pragma once

#include <cstdint>

#include "kernels/common/isa.h"

namespace pocketlora {

/**
 * y = e^x, element by element, within 2 units in the last place. Results below the normal numbers underflow gradually
 * to 0, results above the largest number are +Inf; NaN stays NaN.
 *
 * @param[in] x [n]
 * @param[out] y [n]; may be x
 */
void exp(const float* x, int64_t n, float* y);
/** The same with the kernel for one instruction set. */
void exp(const float* x, int64_t n, float* y, Isa isa);

/** One instruction set's implementation. */
using ExpKernel = void (*)(const float* x, int64_t n, float* y);

#define PL_KERNEL(isa, function) void function(const float*, int64_t, float*);
#include "kernels/exp/kernels.inc"
#undef PL_KERNEL

}  // namespace pocketlora
