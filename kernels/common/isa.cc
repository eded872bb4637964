#include "kernels/common/isa.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>

#if defined(__x86_64__)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

namespace pocketlora {
namespace {

constexpr Isa kAll[] = {Isa::kAmx,      Isa::kAvx512Vnni, Isa::kAvx512, Isa::kAvx2,  Isa::kNeonBf16,
                        Isa::kNeonI8mm, Isa::kNeonDot,    Isa::kNeon,   Isa::kScalar};

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

/// A process may use the tiles after it has asked for them; Linux refuses where a thread's signal stack is too small
/// for them (Documentation/arch/x86/xstate.rst).
bool amx_permitted() {
#if defined(__linux__)
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM of asm/prctl.h, XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

bool has_amx() {
  static const bool has = [] {
    constexpr unsigned kVbmi = 1u << 1, kAmxBf16 = 1u << 22, kAmxTile = 1u << 24, kAvx512Bf16 = 1u << 5;
    unsigned eax, ebx, ecx, edx, eax1, ebx1, ecx1, edx1;
    if (!has_avx512_vnni() || __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) == 0) return false;
    if (__get_cpuid_count(7, 1, &eax1, &ebx1, &ecx1, &edx1) == 0) return false;
    const bool tiles = (edx & kAmxBf16) != 0 && (edx & kAmxTile) != 0;
    return tiles && (ecx & kVbmi) != 0 && (eax1 & kAvx512Bf16) != 0 && amx_permitted();
  }();
  return has;
}
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

bool has_bf16() {
#if defined(__linux__)
  return has_i8mm() && (getauxval(AT_HWCAP2) & (1ul << 14)) != 0;
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
    case Isa::kAmx:
    case Isa::kNeonBf16:
      return 4;
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
    case Isa::kAmx:
      return "amx";
    case Isa::kNeonBf16:
      return "neon_bf16";
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
    case Isa::kAmx:
      return has_amx();
#endif
#if defined(__aarch64__)
    case Isa::kNeon:
      return true;
    case Isa::kNeonDot:
      return has_dot();
    case Isa::kNeonI8mm:
      return has_i8mm();
    case Isa::kNeonBf16:
      return has_bf16();
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
