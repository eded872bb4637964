#pragma once

#include <cstdint>

namespace pocketlora {

/// SplitMix64 (Steele, Lea, Flood 2014): every seed, 0 included, gives a full-period stream, the same on every machine.
class SplitMix64 {
 public:
  explicit SplitMix64(uint64_t seed) : state_(seed) {}

  uint64_t next() {
    uint64_t z = (state_ += 0x9E3779B97F4A7C15U);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
    return z ^ (z >> 31);
  }
  /// Uniform in [0, 1), a multiple of 2^-24.
  float next_unit() { return static_cast<float>(next() >> 40) * (1.0F / (1 << 24)); }

 private:
  uint64_t state_;
};

}  // namespace pocketlora
