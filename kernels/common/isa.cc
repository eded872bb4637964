#include "kernels/common/isa.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

namespace pocketlora {
namespace {

constexpr Isa kAll[] = {Isa::kAvx512Vnni, Isa::kAvx512, Isa::kAvx2,  Isa::kNeonI8mm,
                        Isa::kNeonDot,    Isa::kNeon,   Isa::kScalar};

#if defined(__x86_64__)
bool has_f16c() {
  unsigned eax, ebx, ecx, edx;
  return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
}

// Asked once: cpuid leaves a virtual machine for its host, and every op chooses a kernel.
bool has_avx2() {
  static const bool has = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
  return has;
}

bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

bool has_avx512_vnni() { return has_avx512() && __builtin_cpu_supports("avx512vnni"); }
#endif

#if defined(__aarch64__)
// The bits of Linux' asm/hwcap.h, which not every C library names.
bool has_dot() {
#if defined(__linux__)
  return (getauxval(AT_HWCAP) & (1ul << 20)) != 0;
#else
  return false;
#endif
}

bool has_i8mm() {
#if defined(__linux__)
  return has_dot() && (getauxval(AT_HWCAP2) & (1ul << 13)) != 0;
#else
  return false;
#endif
}
#endif

/// The order inside one architecture: a higher level runs the kernels of the lower ones.
int level(Isa isa) {
  switch (isa) {
    case Isa::kScalar:
      return 0;
    case Isa::kAvx2:
    case Isa::kNeon:
      return 1;
    case Isa::kAvx512:
    case Isa::kNeonDot:
      return 2;
    case Isa::kAvx512Vnni:
    case Isa::kNeonI8mm:
      return 3;
  }
  return 0;
}

Isa choose() {
  const Isa best = supported_isas().front();
  const char* wanted = std::getenv("POCKETLORA_ISA");
  if (wanted == nullptr || *wanted == '\0') return best;
  for (Isa isa : supported_isas()) {
    if (std::strcmp(wanted, isa_name(isa)) == 0) return isa;
  }
  std::fprintf(stderr, "pocketlora: POCKETLORA_ISA=%s is unknown or not supported by this CPU; using %s\n", wanted,
               isa_name(best));
  return best;
}

}  // namespace

const char* isa_name(Isa isa) {
  switch (isa) {
    case Isa::kScalar:
      return "scalar";
    case Isa::kAvx2:
      return "avx2";
    case Isa::kNeon:
      return "neon";
    case Isa::kAvx512:
      return "avx512";
    case Isa::kAvx512Vnni:
      return "avx512_vnni";
    case Isa::kNeonDot:
      return "neon_dot";
    case Isa::kNeonI8mm:
      return "neon_i8mm";
  }
  return "unknown";
}

bool isa_supported(Isa isa) {
  switch (isa) {
    case Isa::kScalar:
      return true;
#if defined(__x86_64__)
    case Isa::kAvx2:
      return has_avx2();
    case Isa::kAvx512:
      return has_avx512();
    case Isa::kAvx512Vnni:
      return has_avx512_vnni();
#endif
#if defined(__aarch64__)
    case Isa::kNeon:
      return true;
    case Isa::kNeonDot:
      return has_dot();
    case Isa::kNeonI8mm:
      return has_i8mm();
#endif
    default:
      return false;
  }
}

const std::vector<Isa>& supported_isas() {
  static const std::vector<Isa> isas = [] {
    std::vector<Isa> found;
    for (Isa isa : kAll) {
      if (isa_supported(isa)) found.push_back(isa);
    }
    return found;
  }();
  return isas;
}

Isa active_isa() {
  static const Isa isa = choose();
  return isa;
}

bool isa_serves(Isa kernel, Isa chosen) {
  return kernel == Isa::kScalar || kernel == chosen || (isa_supported(kernel) && level(kernel) < level(chosen));
}

}  // namespace pocketlora
