#include "store/float_formats.h"

#include <cstring>

namespace pocketlora {
namespace {

uint16_t load16(const uint8_t* bytes) { return static_cast<uint16_t>(bytes[0] | (bytes[1] << 8)); }

float from_bits(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

// Every half, subnormals and NaN payloads included, has an exact fp32 counterpart.
float from_half(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000U) << 16;
  const uint32_t exponent = (half >> 10) & 31U;
  const uint32_t fraction = half & 1023U;
  if (exponent == 31) return from_bits(sign | 0x7F800000U | (fraction << 13));
  if (exponent != 0) return from_bits(sign | ((exponent + 112) << 23) | (fraction << 13));
  constexpr float kSmallestHalf = 1.0F / (1 << 24);
  const float magnitude = static_cast<float>(fraction) * kSmallestHalf;
  return sign != 0 ? -magnitude : magnitude;
}

}  // namespace

bool is_float_dtype(const std::string& dtype) { return dtype == "F32" || dtype == "F16" || dtype == "BF16"; }

void to_float32(const SafetensorsEntry& entry, float* out) {
  const uint8_t* bytes = entry.data.data();
  if (entry.dtype == "F32") {
    if (entry.numel > 0) std::memcpy(out, bytes, entry.data.size());
  } else if (entry.dtype == "BF16") {
    for (int64_t i = 0; i < entry.numel; ++i) out[i] = from_bits(static_cast<uint32_t>(load16(bytes + 2 * i)) << 16);
  } else {
    for (int64_t i = 0; i < entry.numel; ++i) out[i] = from_half(load16(bytes + 2 * i));
  }
}

}  // namespace pocketlora
