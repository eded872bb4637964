#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <thread>
#include <vector>

#include "kernels/common/half.h"
#include "kernels/common/isa.h"
#include "kernels/common/parallel.h"
#include "kernels/common/scratch.h"
#include "kernels/common/test_threads.h"

namespace pocketlora {
namespace {

/// The value of a half by its definition, in double.
double half_by_definition(uint16_t half) {
  const int exponent = half >> 10 & 31;
  const int mantissa = half & 1023;
  const double sign = half & 0x8000 ? -1.0 : 1.0;
  if (exponent == 0) return sign * std::ldexp(mantissa, -24);
  if (exponent == 31) return mantissa == 0 ? sign * INFINITY : NAN;
  return sign * std::ldexp(1024 + mantissa, exponent - 25);
}

TEST(Half, EveryValueConvertsExactlyAndBack) {
  for (int bits = 0; bits < 65536; ++bits) {
    const uint16_t half = static_cast<uint16_t>(bits);
    const double expected = half_by_definition(half);
    const float value = half_to_float(half);
    if (std::isnan(expected)) {
      EXPECT_TRUE(std::isnan(value)) << bits;
      continue;
    }
    EXPECT_EQ(static_cast<double>(value), expected) << bits;
    EXPECT_EQ(float_to_half(value), half) << bits;
  }
}

TEST(Half, RoundsToNearestEven) {
  for (int bits = 0; bits < 0x7BFF; ++bits) {
    const float low = half_to_float(static_cast<uint16_t>(bits));
    const float high = half_to_float(static_cast<uint16_t>(bits + 1));
    const float middle = 0.5f * (low + high);
    EXPECT_EQ(float_to_half(middle), bits % 2 == 0 ? bits : bits + 1) << bits;
    EXPECT_EQ(float_to_half(std::nextafterf(middle, 0.0f)), bits) << bits;
    EXPECT_EQ(float_to_half(std::nextafterf(middle, 1e9f)), bits + 1) << bits;
  }
}

TEST(Isa, ScalarIsAlwaysTheLastResort) {
  ASSERT_FALSE(supported_isas().empty());
  EXPECT_EQ(supported_isas().back(), Isa::kScalar);
  for (Isa isa : supported_isas()) EXPECT_TRUE(isa_supported(isa)) << isa_name(isa);
}

TEST(Isa, ActiveIsSupportedAndObeysTheEnvironment) {
  EXPECT_TRUE(isa_supported(active_isa()));
  const char* wanted = std::getenv("POCKETLORA_ISA");
  if (wanted == nullptr || *wanted == '\0') {
    EXPECT_EQ(active_isa(), supported_isas().front());
    return;
  }
  Isa expected = supported_isas().front();
  for (Isa isa : supported_isas()) {
    if (std::strcmp(isa_name(isa), wanted) == 0) expected = isa;
  }
  EXPECT_EQ(active_isa(), expected);
}

TEST(Isa, ALowerKernelServesAHigherChoiceOnly) {
  EXPECT_TRUE(isa_serves(Isa::kScalar, Isa::kScalar));
  EXPECT_FALSE(isa_serves(Isa::kAvx2, Isa::kScalar));
  EXPECT_FALSE(isa_serves(Isa::kNeon, Isa::kScalar));
  EXPECT_FALSE(isa_serves(Isa::kAvx512, Isa::kAvx2));
  EXPECT_EQ(isa_serves(Isa::kAvx2, Isa::kAvx512), isa_supported(Isa::kAvx2));
}

TEST(Isa, SelectsTheFirstEntryThatServes) {
  constexpr KernelEntry<int> kList[] = {{Isa::kAvx512, "a", 512}, {Isa::kAvx2, "b", 2}, {Isa::kScalar, "c", 0}};
  EXPECT_EQ(select_kernel(kList, Isa::kScalar), 0);
  EXPECT_EQ(select_kernel(kList, Isa::kAvx2), 2);
  EXPECT_EQ(select_kernel(kList, Isa::kAvx512), 512);
  EXPECT_EQ(select_kernel(kList, Isa::kNeon), 0);
}

TEST(Parallel, EveryIndexOnceWithAndWithoutABackend) {
  for (ParallelBackend backend : {ParallelBackend{nullptr}, ParallelBackend{test::scattered_backend}}) {
    set_parallel_backend(backend);
    std::vector<int> hits(1000, 0);
    parallel_for(3, 997, 10, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) ++hits[i];
    });
    for (int64_t i = 0; i < 1000; ++i) EXPECT_EQ(hits[i], i >= 3 && i < 997 ? 1 : 0) << i;
    parallel_for(5, 5, 1, [&](int64_t, int64_t) { ADD_FAILURE() << "an empty range runs nothing"; });
  }
  set_parallel_backend(nullptr);
}

TEST(Scratch, FramesNestAndBuffersDoNotMove) {
  scratch_release();
  const int64_t before = scratch_bytes_in_use();
  {
    ScratchFrame outer;
    float* first = outer.floats(100);
    first[99] = 7.0f;
    {
      ScratchFrame inner;
      float* big = inner.floats(1 << 20);
      EXPECT_EQ(reinterpret_cast<uintptr_t>(big) % 64, 0u);
      std::fill(big, big + (1 << 20), 1.0f);
    }
    float* again = outer.floats(16);
    std::fill(again, again + 16, 2.0f);
    EXPECT_EQ(first[99], 7.0f);
  }
  EXPECT_GE(scratch_bytes_in_use() - before, int64_t{4} << 20);
  EXPECT_GE(scratch_bytes_peak(), scratch_bytes_in_use());
  scratch_release();
  EXPECT_EQ(scratch_bytes_in_use(), before);
  scratch_reset_peak();
  EXPECT_EQ(scratch_bytes_peak(), before);
}

TEST(Scratch, SecondCallReusesTheMemory) {
  const auto use = [] {
    ScratchFrame frame;
    for (int i = 0; i < 10; ++i) frame.floats(100000);
  };
  use();
  const int64_t after_first = scratch_bytes_in_use();
  use();
  EXPECT_EQ(scratch_bytes_in_use(), after_first);
}

TEST(Scratch, EndsWithItsThread) {
  const int64_t before = scratch_bytes_in_use();
  std::thread([] {
    ScratchFrame frame;
    frame.floats(1 << 20);
  }).join();
  EXPECT_EQ(scratch_bytes_in_use(), before);
}

}  // namespace
}  // namespace pocketlora
