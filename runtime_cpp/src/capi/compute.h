#pragma once

#include "common/result.h"
#include "kernels/q4/compute.h"
#include "pocketlora/pocketlora.h"

namespace pocketlora {

/// @return what `given` means on this machine. INVALID_ARGUMENT when it is no pl_compute.
inline Result<Compute> read_compute(pl_compute given) {
  static_assert(PL_COMPUTE_FLOAT32 == static_cast<int>(Compute::kFloat32), "one numbering");
  static_assert(PL_COMPUTE_INT16 == static_cast<int>(Compute::kInt16), "one numbering");
  static_assert(PL_COMPUTE_INT8 == static_cast<int>(Compute::kInt8), "one numbering");
  static_assert(PL_COMPUTE_BF16 == static_cast<int>(Compute::kBf16), "one numbering");
  if (given < PL_COMPUTE_FLOAT32 || given > PL_COMPUTE_BF16) {
    return error(PL_INVALID_ARGUMENT, "compute: expected a pl_compute, found %d", static_cast<int>(given));
  }
  return given == PL_COMPUTE_AUTO ? fastest_compute() : static_cast<Compute>(given);
}

}  // namespace pocketlora
