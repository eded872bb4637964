#pragma once

#include <cstdint>
#include <cstring>

namespace pocketlora {

/// @return the value of an IEEE half, exactly.
static inline float half_to_float(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000u) << 16;
  const uint32_t rest = half & 0x7FFFu;
  uint32_t bits;
  if (rest >= 0x7C00u) {
    bits = 0x7F800000u | (rest & 0x3FFu) << 13;
  } else if (rest >= 0x0400u) {
    bits = (rest << 13) + (112u << 23);
  } else {
    // A subnormal half is rest * 2^-24, which is a normal float.
    const float value = static_cast<float>(rest) * 5.9604644775390625e-08f;
    std::memcpy(&bits, &value, sizeof(bits));
  }
  bits |= sign;
  float result;
  std::memcpy(&result, &bits, sizeof(result));
  return result;
}

/// @return the nearest IEEE half (ties to even); too large becomes infinity.
static inline uint16_t float_to_half(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  const uint16_t sign = static_cast<uint16_t>(bits >> 16 & 0x8000u);
  bits &= 0x7FFFFFFFu;
  if (bits > 0x7F800000u) return static_cast<uint16_t>(sign | 0x7E00u);
  if (bits >= 0x477FF000u) return static_cast<uint16_t>(sign | 0x7C00u);
  if (bits < 0x38800000u) {
    // Adding 0.5 leaves the half's subnormal bits in the low bits, rounded by the addition.
    float magnitude;
    std::memcpy(&magnitude, &bits, sizeof(magnitude));
    const float shifted = magnitude + 0.5f;
    std::memcpy(&bits, &shifted, sizeof(bits));
    return static_cast<uint16_t>(sign | (bits - 0x3F000000u));
  }
  const uint32_t odd = bits >> 13 & 1u;
  return static_cast<uint16_t>(sign | ((bits - (112u << 23) + 0xFFFu + odd) >> 13));
}

/// @return the value of a bfloat16, exactly.
static inline float bfloat16_to_float(uint16_t value) {
  const uint32_t bits = static_cast<uint32_t>(value) << 16;
  float result;
  std::memcpy(&result, &bits, sizeof(result));
  return result;
}

/// @return the nearest bfloat16 (ties to even); too large becomes infinity.
static inline uint16_t float_to_bfloat16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return 0x7FC0u;
  return static_cast<uint16_t>((bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16);
}

}  // namespace pocketlora
