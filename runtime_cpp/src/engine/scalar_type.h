#pragma once

#include <executorch/runtime/core/exec_aten/exec_aten.h>

#include "bundle/manifest.h"

namespace pocketlora {

inline executorch::aten::ScalarType scalar_type(DType dtype) {
  switch (dtype) {
    case DType::kFloat32:
      return executorch::aten::ScalarType::Float;
    case DType::kInt64:
      return executorch::aten::ScalarType::Long;
    case DType::kUint8:
      return executorch::aten::ScalarType::Byte;
  }
  return executorch::aten::ScalarType::Undefined;
}

}  // namespace pocketlora
