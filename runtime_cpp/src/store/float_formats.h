#pragma once

#include <string>

#include "store/safetensors.h"

namespace pocketlora {

/// Whether the dtype is one that to_float32 converts: F32, F16, BF16.
bool is_float_dtype(const std::string& dtype);

/// Converts an F32, F16 or BF16 entry to fp32, exactly. @param out entry.numel elements.
void to_float32(const SafetensorsEntry& entry, float* out);

}  // namespace pocketlora
