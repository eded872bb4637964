#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>

#include "common/result.h"

namespace pocketlora {

/// The product of sizes, none of them negative: the only way to the size of a buffer, since a manifest's numbers must
/// not be able to wrap it. @return OUT_OF_MEMORY when it does not fit.
inline Result<size_t> bytes_of(std::initializer_list<int64_t> factors) {
  size_t total = 1;
  for (const int64_t factor : factors) {
    if (factor < 0 || __builtin_mul_overflow(total, static_cast<uint64_t>(factor), &total)) {
      return error(PL_OUT_OF_MEMORY, "a buffer of more bytes than an address can count is asked for");
    }
  }
  return total;
}

}  // namespace pocketlora
