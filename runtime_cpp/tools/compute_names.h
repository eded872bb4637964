#pragma once

#include <pocketlora/pocketlora.h>

#include <map>
#include <string>

namespace pocketlora_run {

/// The values of --compute.
inline const std::map<std::string, pl_compute> kComputes = {{"auto", PL_COMPUTE_AUTO},
                                                            {"fp32", PL_COMPUTE_FLOAT32},
                                                            {"int16", PL_COMPUTE_INT16},
                                                            {"int8", PL_COMPUTE_INT8},
                                                            {"bf16", PL_COMPUTE_BF16}};

}  // namespace pocketlora_run
