#pragma once

namespace pocketlora {

/// How products with a 4-bit matrix are computed, but for the head of training (docs/layout.md). The values are those
/// of the C API.
enum class Compute : int {
  kFloat32 = 0,  ///< fp32 throughout
  kInt16 = 1,    ///< rows and weights in at most 16 bits, exact integer sums inside a group, fp32 between groups
};

/// @return what is fastest on this machine among what was measured: kInt16 with AVX2, kFloat32 otherwise.
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
