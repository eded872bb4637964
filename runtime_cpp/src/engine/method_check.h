#pragma once

#include <executorch/runtime/executor/method_meta.h>

#include <string>
#include <vector>

#include "bundle/manifest.h"
#include "common/result.h"

namespace pocketlora {

/// Compares a method's real inputs and outputs with the manifest: number, type, rank, fixed dimensions; none may be
/// memory-planned, since pointers are bound in place. The delegates that it calls must be among `delegates`.
/// Differences are added to `problems`.
void check_method(const executorch::runtime::MethodMeta& meta, const MethodSpec& spec,
                  const std::vector<std::string>& delegates, ProblemList* problems);

}  // namespace pocketlora
