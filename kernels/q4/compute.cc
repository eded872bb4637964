#include "kernels/q4/compute.h"

namespace pocketlora {
namespace {

thread_local Compute t_compute = Compute::kFloat32;

/// Of at most kFewRows rows, which every instruction set computes in integers of 8 or 16 bits.
Compute few_computed_as(Compute compute) { return compute == Compute::kBf16 ? Compute::kInt16 : compute; }

/// Of more rows, with x86's vectors: 16-bit integers are there wherever the others are not.
Compute many_computed_as_x86(Compute compute, Isa isa) {
  const bool bytes = isa == Isa::kAvx512Vnni, tiles = isa == Isa::kAmx;
  if (compute == Compute::kInt8) return bytes ? compute : tiles ? Compute::kBf16 : Compute::kInt16;
  if (compute == Compute::kBf16) return tiles ? compute : Compute::kInt16;
  return compute;
}

/// Of more rows, with NEON: no faster in 16-bit integers, so fp32 is there wherever the others are not.
Compute many_computed_as_neon(Compute compute, Isa isa) {
  if (compute == Compute::kInt8 && isa != Isa::kNeon) return compute;
  return compute == Compute::kBf16 && isa == Isa::kNeonBf16 ? compute : Compute::kFloat32;
}

}  // namespace

const char* compute_name(Compute compute) {
  switch (compute) {
    case Compute::kFloat32:
      return "fp32";
    case Compute::kInt16:
      return "int16";
    case Compute::kInt8:
      return "int8";
    case Compute::kBf16:
      return "bf16";
  }
  return "";
}

Compute fastest_compute() {
  const Isa isa = active_isa();
  return isa == Isa::kAvx2 || isa == Isa::kAvx512Vnni || isa == Isa::kAmx ? Compute::kInt16 : Compute::kFloat32;
}

Compute computed_as(Compute compute, int64_t n_rows, Isa isa) {
  switch (isa) {
    case Isa::kScalar:
      return Compute::kFloat32;
    case Isa::kAvx2:
    case Isa::kAvx512:
    case Isa::kAvx512Vnni:
    case Isa::kAmx:
      return n_rows <= kFewRows ? few_computed_as(compute) : many_computed_as_x86(compute, isa);
    case Isa::kNeon:
    case Isa::kNeonDot:
    case Isa::kNeonI8mm:
    case Isa::kNeonBf16:
      return n_rows <= kFewRows ? few_computed_as(compute) : many_computed_as_neon(compute, isa);
  }
  return Compute::kFloat32;
}

Compute computed_as(Compute compute, int64_t n_rows) { return computed_as(compute, n_rows, active_isa()); }

Compute active_compute() { return t_compute; }

bool amx_computes(int64_t n_rows) { return computed_as(t_compute, n_rows, Isa::kAmx) == Compute::kBf16; }

bool neon_bf16_computes(int64_t n_rows) { return computed_as(t_compute, n_rows, Isa::kNeonBf16) == Compute::kBf16; }

ComputeScope::ComputeScope(Compute compute) : before_(t_compute) { t_compute = compute; }

ComputeScope::~ComputeScope() { t_compute = before_; }

}  // namespace pocketlora
