#include "kernels/executorch/register.h"

#include <executorch/runtime/kernel/operator_registry.h>

#include <cstring>
#include <iterator>

#include "kernels/executorch/boxed.h"
#include "kernels/executorch/ops.h"

namespace pocketlora {
namespace {

using executorch::runtime::Error;
using executorch::runtime::Kernel;

// Static: the registry keeps pointers to the names.
const Kernel kKernels[] = {
#define PL_OP(op) Kernel("pocketlora::" #op ".out", boxed::call<boxed::op##_out>),
#include "kernels/executorch/ops.inc"
#undef PL_OP
};

/** Looks through the list, because asking the registry for a missing op logs an error. */
bool already_registered() {
  for (const Kernel& kernel : executorch::runtime::get_registered_kernels()) {
    if (std::strcmp(kernel.name_, kKernels[0].name_) == 0) return true;
  }
  return false;
}

}  // namespace

bool register_pocketlora_ops() {
  static const bool registered =
      already_registered() || executorch::runtime::register_kernels({kKernels, std::size(kKernels)}) == Error::Ok;
  return registered;
}

}  // namespace pocketlora
