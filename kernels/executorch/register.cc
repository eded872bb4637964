#include "kernels/executorch/register.h"

#include <executorch/runtime/kernel/operator_registry.h>

#include <iterator>

#include "kernels/executorch/boxed.h"
#include "kernels/executorch/ops.h"

namespace pocketlora {
namespace {

using executorch::runtime::Kernel;

// Static: the registry keeps pointers to the names.
const Kernel kKernels[] = {
#define PL_OP(op) Kernel("pocketlora::" #op ".out", boxed::call<boxed::op##_out>),
#include "kernels/executorch/ops.inc"
#undef PL_OP
};

}  // namespace

bool register_pocketlora_ops() {
  static const bool registered =
      executorch::runtime::registry_has_op_function(kKernels[0].name_) ||
      executorch::runtime::register_kernels({kKernels, std::size(kKernels)}) == executorch::runtime::Error::Ok;
  return registered;
}

}  // namespace pocketlora
