#pragma once

#include <cstdint>

namespace pocketlora {

/// Dropout of the LoRA branch's input. Element (i, j) is kept when u(i, j) >= p and then scaled by 1 / (1 - p).
struct Dropout {
  float p;        ///< probability in [0, 1); 0 = none
  uint64_t seed;  ///< only the low 32 bits are used
  int32_t site;   ///< number of the linear layer: sites have independent masks
};

/// A mixing function on 32 bits (all arithmetic modulo 2^32); part of the contract in docs/stages.md.
static inline uint32_t dropout_mix(uint32_t v) {
  v ^= v >> 16;
  v *= 0x7FEB352Du;
  v ^= v >> 15;
  v *= 0x846CA68Bu;
  v ^= v >> 16;
  return v;
}

/// @return the part of the hash that depends on the call alone.
static inline uint32_t dropout_key(const Dropout& dropout) {
  const uint32_t seed = dropout_mix(static_cast<uint32_t>(dropout.seed));
  return dropout_mix(static_cast<uint32_t>(dropout.site) + seed);
}

/// @return 0 when element (i, j) is dropped, else 1 / (1 - p).
static inline float dropout_factor(uint32_t key, float p, int64_t i, int64_t j) {
  const uint32_t column = dropout_mix(static_cast<uint32_t>(j) + key);
  const uint32_t hash = dropout_mix(static_cast<uint32_t>(i) * 0x9E3779B1u + column);
  const float u = static_cast<float>(hash >> 8) * 5.9604644775390625e-08f;
  return u >= p ? 1.0f / (1.0f - p) : 0.0f;
}

}  // namespace pocketlora
