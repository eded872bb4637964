#pragma once

#include <benchmark/benchmark.h>

#include <cstdint>
#include <random>
#include <vector>

#include "kernels/common/isa.h"
#include "kernels/q4/q4.h"

/// What the kernels' benchmarks share: random operands and counters.
namespace pocketlora::bench {

inline std::vector<float> random_floats(int64_t count, uint32_t seed) {
  std::mt19937 engine(seed);
  std::uniform_real_distribution<float> uniform(-1.0f, 1.0f);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = uniform(engine);
  return values;
}

/// A matrix of random codes with all scales 2^-7.
class RandomMatrix {
 public:
  RandomMatrix(int64_t rows, int64_t cols, Quant quant, int group) : matrix_{nullptr, rows, cols, quant, group} {
    bytes_.resize(static_cast<size_t>(matrix_.bytes()));
    std::mt19937 engine(1);
    for (int64_t i = 0; i < matrix_.bytes(); ++i) {
      const bool is_code = i % matrix_.tile_bytes() < kCodeBytes;
      bytes_[static_cast<size_t>(i)] = is_code ? static_cast<uint8_t>(engine() >> 24) : (i % 2 == 0 ? 0x00 : 0x20);
    }
    matrix_.tiles = bytes_.data();
  }
  const Q4Matrix& matrix() const { return matrix_; }

 private:
  std::vector<uint8_t> bytes_;
  Q4Matrix matrix_;
};

/// Floating-point operations and bytes of stored weights per second.
inline void count(benchmark::State& state, double flops, double weight_bytes) {
  const double runs = static_cast<double>(state.iterations());
  state.counters["FLOP/s"] = benchmark::Counter(flops * runs, benchmark::Counter::kIsRate);
  state.counters["B/s"] = benchmark::Counter(weight_bytes * runs, benchmark::Counter::kIsRate);
}

/// Skips a kernel that this CPU does not run.
inline bool skip(benchmark::State& state, Isa isa) {
  if (isa_supported(isa)) return false;
  state.SkipWithError("not supported by this CPU");
  return true;
}

}  // namespace pocketlora::bench
