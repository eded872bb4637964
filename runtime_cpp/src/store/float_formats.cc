#include "store/float_formats.h"

#include <cstring>

#include "kernels/common/half.h"

namespace pocketlora {
namespace {

uint16_t load16(const uint8_t* bytes) { return static_cast<uint16_t>(bytes[0] | (bytes[1] << 8)); }

float from_bits(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
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
    for (int64_t i = 0; i < entry.numel; ++i) out[i] = half_to_float(load16(bytes + 2 * i));
  }
}

}  // namespace pocketlora
