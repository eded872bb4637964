#include "kernels/q4/compute.h"

#include "kernels/common/isa.h"

namespace pocketlora {
namespace {

thread_local Compute t_compute = Compute::kFloat32;

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

Compute active_compute() { return t_compute; }

bool amx_computes(int64_t n_rows) {
  return n_rows > kFewRows && (t_compute == Compute::kBf16 || t_compute == Compute::kInt8);
}

bool neon_bf16_computes(int64_t n_rows) { return n_rows > kFewRows && t_compute == Compute::kBf16; }

ComputeScope::ComputeScope(Compute compute) : before_(t_compute) { t_compute = compute; }

ComputeScope::~ComputeScope() { t_compute = before_; }

}  // namespace pocketlora
