#include "kernels/convert/convert.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "kernels/common/half.h"

namespace pocketlora {
namespace {

constexpr FloatFormat kFormats[] = {FloatFormat::kFloat32, FloatFormat::kFloat16, FloatFormat::kBfloat16};

float from_bits(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

/// Every exponent with mantissas on, just below and just above each tie of both formats, of both signs.
std::vector<float> interesting_values() {
  std::vector<float> values;
  for (uint32_t exponent = 0; exponent < 255; ++exponent) {
    for (const uint32_t mantissa : {0u, 1u, 0xFFFu, 0x1000u, 0x1001u, 0x3000u, 0x7FFFu, 0x8000u, 0x8001u, 0x18000u,
                                    0x400000u, 0x7FF000u, 0x7F8000u, 0x7FFFFFu}) {
      values.push_back(from_bits(exponent << 23 | mantissa));
      values.push_back(-values.back());
    }
  }
  return values;
}

std::vector<float> round_trip(FloatFormat format, const std::vector<float>& in, Isa isa, bool* finite) {
  std::vector<uint8_t> stored(in.size() * float_format_size(format) + 1, 0xA5);
  std::vector<float> out(in.size());
  const auto n = static_cast<int64_t>(in.size());
  *finite = store_floats(format, in.data(), stored.data(), n, isa);
  EXPECT_EQ(stored.back(), 0xA5);
  load_floats(format, stored.data(), out.data(), n, isa);
  return out;
}

TEST(Convert, EveryInstructionSetGivesTheScalarReferencesBits) {
  const std::vector<float> values = interesting_values();
  for (const FloatFormat format : kFormats) {
    bool expected_finite = false;
    const std::vector<float> expected = round_trip(format, values, Isa::kScalar, &expected_finite);
    for (const Isa isa : supported_isas()) {
      bool finite = false;
      const std::vector<float> found = round_trip(format, values, isa, &finite);
      EXPECT_EQ(std::memcmp(found.data(), expected.data(), found.size() * sizeof(float)), 0) << isa_name(isa);
      EXPECT_EQ(finite, expected_finite);
    }
  }
}

TEST(Convert, ABfloat16IsTheNearestOne) {
  for (const float value : interesting_values()) {
    const float stored = bfloat16_to_float(float_to_bfloat16(value));
    if (!std::isfinite(stored)) continue;
    // Half a unit of the last place: 2^-8 of the value's power of two; the smallest numbers have a fixed unit, 2^-133.
    const double unit = std::max(std::ldexp(1.0, std::ilogb(value == 0 ? 1e-45F : value) - 7), std::ldexp(1.0, -133));
    EXPECT_LE(std::abs(static_cast<double>(stored) - static_cast<double>(value)), unit / 2) << value;
  }
  EXPECT_EQ(float_to_bfloat16(from_bits(0x3F808000u)), 0x3F80u);  // a tie goes to the even neighbour
  EXPECT_EQ(float_to_bfloat16(from_bits(0x3F818000u)), 0x3F82u);
}

TEST(Convert, SaysWhatCannotBeStored) {
  for (const Isa isa : supported_isas()) {
    for (const size_t where : {size_t{0}, size_t{17}, size_t{18}}) {  // inside a vector and in the rest
      std::vector<float> values(19, 1.5F);
      bool finite = false;
      values[where] = 65520.0F;  // rounds to 65536, which a half does not have
      round_trip(FloatFormat::kFloat16, values, isa, &finite);
      EXPECT_FALSE(finite);
      round_trip(FloatFormat::kBfloat16, values, isa, &finite);
      EXPECT_TRUE(finite);
      values[where] = std::numeric_limits<float>::quiet_NaN();
      for (const FloatFormat format : kFormats) {
        EXPECT_TRUE(std::isnan(round_trip(format, values, isa, &finite)[where]));
        EXPECT_FALSE(finite);
      }
      values[where] = from_bits(0x7F800001u);  // a NaN whose payload is lost
      EXPECT_TRUE(std::isnan(round_trip(FloatFormat::kBfloat16, values, isa, &finite)[where]));
      EXPECT_FALSE(finite);
    }
  }
}

TEST(Convert, LongVectorsAreConvertedWhole) {
  std::vector<float> values(200003);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 1021) - 500.0F;
  for (const FloatFormat format : {FloatFormat::kFloat32, FloatFormat::kFloat16}) {
    bool finite = false;
    EXPECT_EQ(round_trip(format, values, active_isa(), &finite), values);  // integers up to 2048 are halves
    EXPECT_TRUE(finite);
  }
}

}  // namespace
}  // namespace pocketlora
