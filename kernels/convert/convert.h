#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/common/isa.h"

namespace pocketlora {

/** What fp32 values may be stored as between two stages. */
enum class FloatFormat : int { kFloat32 = 0, kFloat16 = 1, kBfloat16 = 2 };

/** @return bytes of one stored value. */
constexpr size_t float_format_size(FloatFormat format) { return format == FloatFormat::kFloat32 ? 4 : 2; }

/** @return "fp32", "fp16" or "bf16". */
constexpr const char* float_format_name(FloatFormat format) {
  return format == FloatFormat::kFloat32 ? "fp32" : format == FloatFormat::kFloat16 ? "fp16" : "bf16";
}

/**
 * Rounds n values to the nearest value of a format, ties to even; NaN stays NaN, and what is too large becomes
 * infinity.
 *
 * @param[out] out n values of the format
 * @return whether every stored value is finite
 */
bool store_floats(FloatFormat format, const float* in, void* out, int64_t n);
/** Reads n stored values, exactly. */
void load_floats(FloatFormat format, const void* in, float* out, int64_t n);

/** As above, with the kernel for one instruction set. */
bool store_floats(FloatFormat format, const float* in, void* out, int64_t n, Isa isa);
void load_floats(FloatFormat format, const void* in, float* out, int64_t n, Isa isa);

/** One instruction set's implementation, for one thread's share of the elements. */
struct ConvertKernel {
  bool (*to_half)(const float* in, uint16_t* out, int64_t n);
  void (*from_half)(const uint16_t* in, float* out, int64_t n);
  bool (*to_bfloat16)(const float* in, uint16_t* out, int64_t n);
  void (*from_bfloat16)(const uint16_t* in, float* out, int64_t n);
};

#define PL_KERNEL(isa, name)                                 \
  bool to_half_##name(const float*, uint16_t*, int64_t);     \
  void from_half_##name(const uint16_t*, float*, int64_t);   \
  bool to_bfloat16_##name(const float*, uint16_t*, int64_t); \
  void from_bfloat16_##name(const uint16_t*, float*, int64_t);
#include "kernels/convert/kernels.inc"
#undef PL_KERNEL

}  // namespace pocketlora
