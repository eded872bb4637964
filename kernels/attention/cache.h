#pragma once

#include <cstdint>

#include "kernels/common/isa.h"

/** How the keys and values of earlier tokens are stored (docs/stages.md, "The KV cache"). */
namespace pocketlora {

/** A row holds one head after the other: kFloat32 and kFloat16 D values; kInt8 one fp32 scale, then D signed bytes. */
enum class CacheFormat : int { kFloat32 = 0, kFloat16 = 1, kInt8 = 2 };

inline constexpr CacheFormat kCacheFormats[] = {CacheFormat::kFloat32, CacheFormat::kFloat16, CacheFormat::kInt8};

/** @return "float32", "float16" or "int8". */
inline const char* cache_format_name(CacheFormat format) {
  return format == CacheFormat::kFloat32 ? "float32" : format == CacheFormat::kFloat16 ? "float16" : "int8";
}

/** @return bytes of one head of a row. */
inline int64_t cache_head_bytes(CacheFormat format, int64_t head_dim) {
  switch (format) {
    case CacheFormat::kFloat32:
      return 4 * head_dim;
    case CacheFormat::kFloat16:
      return 2 * head_dim;
    case CacheFormat::kInt8:
      break;
  }
  return head_dim + 4;
}

/**
 * The format whose heads have that many bytes. A width of 4 makes kFloat16 and kInt8 the same size; it is kFloat16.
 *
 * @return false when there is none.
 */
inline bool cache_format_of(int64_t head_bytes, int64_t head_dim, CacheFormat* format) {
  for (const CacheFormat candidate : kCacheFormats) {
    if (head_bytes != cache_head_bytes(candidate, head_dim)) continue;
    *format = candidate;
    return true;
  }
  return false;
}

/**
 * Stores rows. kFloat16: the nearest half, ties to even, at most ±65504. kInt8, each head: scale = max|x| / 127, value
 * = x / scale rounded to the nearest, ties to even; all 0 when the scale is 0. Every instruction set stores the same
 * bits.
 *
 * @param[in] rows [n_rows, num_heads · head_dim]
 * @param[out] stored [n_rows, num_heads · cache_head_bytes]
 */
void store_cache_rows(CacheFormat format, const float* rows, int64_t n_rows, int64_t num_heads, int64_t head_dim,
                      uint8_t* stored);
/** The same with the kernel for one instruction set. */
void store_cache_rows(CacheFormat format, const float* rows, int64_t n_rows, int64_t num_heads, int64_t head_dim,
                      uint8_t* stored, Isa isa);

}  // namespace pocketlora
