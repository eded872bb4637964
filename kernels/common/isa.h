#pragma once

#include <vector>

namespace pocketlora {

/// Instruction sets that kernels are written for.
enum class Isa : int {
  kScalar = 0,
  kAvx2 = 1,        ///< with FMA and F16C
  kNeon = 2,        ///< baseline aarch64
  kAvx512 = 3,      ///< F, BW, DQ, VL
  kAvx512Vnni = 4,  ///< kAvx512 with the integer dot products
  kNeonDot = 5,     ///< kNeon with the dot products of bytes (FEAT_DotProd)
  kNeonI8mm = 6,    ///< kNeonDot with the matrix products of bytes (FEAT_I8MM)
  kAmx = 7,         ///< kAvx512Vnni with the tiles of AMX for bf16, its conversions, and permutations of bytes (VBMI)
  kNeonBf16 = 8,    ///< kNeonI8mm with the matrix products of bf16 (FEAT_BF16)
};

/// @return the name used by POCKETLORA_ISA, e.g. "avx2".
const char* isa_name(Isa isa);

/// @return whether this CPU (and its operating system) runs `isa`. For kAmx the process asks Linux for its tiles.
bool isa_supported(Isa isa);

/// @return every supported instruction set, best first; kScalar is always the last.
const std::vector<Isa>& supported_isas();

/// The instruction set that the kernels use: the best supported one, or the one that the environment variable
/// POCKETLORA_ISA (scalar, avx2, avx512, avx512_vnni, amx, neon, neon_dot, neon_i8mm, neon_bf16) caps it to. Read once;
/// an unknown or unsupported value is reported on stderr and ignored.
Isa active_isa();

/// @return whether a kernel written for `kernel` may run when `chosen` is asked for. A lower instruction set of the
/// same architecture serves where an op has no kernel for the chosen one.
bool isa_serves(Isa kernel, Isa chosen);

/// One entry of an op's list of kernels (kernels.inc), best first.
template <typename Kernel>
struct KernelEntry {
  Isa isa;
  const char* name;
  Kernel kernel;
};

/// @return the first entry of the list that serves `isa`. The list ends with a scalar kernel, so there always is one.
template <typename Kernel, int kCount>
const Kernel& select_kernel(const KernelEntry<Kernel> (&list)[kCount], Isa isa) {
  for (const KernelEntry<Kernel>& entry : list) {
    if (isa_serves(entry.isa, isa)) return entry.kernel;
  }
  return list[kCount - 1].kernel;
}

}  // namespace pocketlora
