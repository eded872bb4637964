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

/// @return what this machine makes of `compute` where a product has so many rows.
inline pl_compute computed_here(Compute compute, int64_t n_rows) {
  return static_cast<pl_compute>(computed_as(compute, n_rows));
}

}  // namespace pocketlora
