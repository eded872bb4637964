#pragma once

#include <cstdint>

namespace pocketlora {

/**
 * The dynamic map of 8-bit optimizers: 256 rising values in [−1, 1] (signed) or [0, 1]. Each decade from 1e-7 to 1 has
 * twice as many as the one below it. Equal to torchao's create_dynamic_map bit for bit.
 */
struct DynamicMap {
  static constexpr int kMantissaBits = 7;
  static constexpr int kExponents = 22;  ///< magnitudes below 2^-22 share bucket 0: no map value but 0 is that small
  static constexpr int kBuckets = 2 + (kExponents << kMantissaBits);  ///< the last one is that of 1

  float values[257];  ///< the last one is infinity
  /**
   * Finds codes without a search. By the sign, and the exponent and the first bits of the mantissa of a number: the
   * code of the largest map value that is not above the lowest number of that bucket. A bucket holds at most one map
   * value beyond it.
   */
  uint8_t buckets[2][kBuckets];
};

/** Made at the first use. */
const DynamicMap& signed_dynamic_map();
const DynamicMap& unsigned_dynamic_map();

}  // namespace pocketlora
