#pragma once

namespace pocketlora {

/// How products with a 4-bit matrix are computed (docs/layout.md). The values are those of the C API.
enum class Compute : int {
  kFloat32 = 0,  ///< fp32 throughout
  kInt16 = 1,    ///< rows and weights in at most 16 bits, exact integer sums inside a group, fp32 between groups
  kInt8 = 2,  ///< likewise of at most 16 rows, these in 7 bits (8 with NEON's dot products) and the codebook in 8; of
              ///< more rows as kInt16
};

/// @return "fp32", "int16" or "int8".
const char* compute_name(Compute compute);

/// @return what is fastest on this machine among what was measured and cannot be told from fp32 by what a model says:
/// kInt16 with AVX2 and with AVX-512 VNNI, kFloat32 otherwise.
Compute fastest_compute();

/// @return what the calling thread asked for; kFloat32 unless a ComputeScope says otherwise.
Compute active_compute();

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
