#include "kernels/q4/compute.h"

namespace pocketlora {
namespace {

thread_local Compute t_compute = Compute::kFloat32;

}  // namespace

Compute active_compute() { return t_compute; }

ComputeScope::ComputeScope(Compute compute) : before_(t_compute) { t_compute = compute; }

ComputeScope::~ComputeScope() { t_compute = before_; }

}  // namespace pocketlora
