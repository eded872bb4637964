#pragma once

#include <cstdint>

#include "kernels/common/isa.h"

namespace pocketlora {

/// Up to this many rows a product is that of few rows, which decodes W group by group.
constexpr int64_t kFewRows = 16;

/// How products with a 4-bit matrix are computed (docs/layout.md). The values are those of the C API.
enum class Compute : int {
  kFloat32 = 0,  ///< fp32 throughout
  kInt16 = 1,    ///< rows and weights in at most 16 bits, exact integer sums inside a group, fp32 between groups
  kInt8 = 2,     ///< rows and codebook in 8 bits (x in 7 without 32-bit sums of bytes), for more than 16 rows where the
                 ///< machine has dot products of bytes, as kInt16 elsewhere; with AMX as kBf16
  kBf16 = 4,     ///< more than 16 rows and weights in bf16, sums in fp32, where the machine has matrix products of
                 ///< bf16 (AMX, NEON), as kInt16 elsewhere
};

/// @return "fp32", "int16", "int8" or "bf16".
const char* compute_name(Compute compute);

/// @return what is fastest on this machine among what was measured and cannot be told from fp32 by what a model says:
/// kInt16 with AVX2 and with AVX-512 VNNI (which AMX's machines have), kFloat32 otherwise.
Compute fastest_compute();

/// @return what `isa` makes of `compute` where a product has so many rows: one that it computes itself, whose results
/// have the same bits. A backward's rest of a block of rows is the exception: of 16 or fewer it may be fp32.
Compute computed_as(Compute compute, int64_t n_rows, Isa isa);

/// @return the same for this machine.
Compute computed_as(Compute compute, int64_t n_rows);

/// @return what the calling thread asked for; kFloat32 unless a ComputeScope says otherwise.
Compute active_compute();

/// @return whether the thread asked for what AMX does best with so many rows: bf16, and 8-bit integers, than which its
/// bf16 is faster and closer.
bool amx_computes(int64_t n_rows);

/// @return whether the thread asked for bf16 with so many rows.
bool neon_bf16_computes(int64_t n_rows);

/// While it lives, the products that this thread starts are computed so. Kernels without such a path compute in fp32.
class ComputeScope {
 public:
  explicit ComputeScope(Compute compute);
  ~ComputeScope();
  ComputeScope(const ComputeScope&) = delete;
  ComputeScope& operator=(const ComputeScope&) = delete;

 private:
  Compute before_;
};

}  // namespace pocketlora
