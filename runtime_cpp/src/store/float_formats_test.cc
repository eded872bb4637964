#include "store/float_formats.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

namespace pocketlora {
namespace {

std::vector<float> convert(const std::string& dtype, const std::vector<uint8_t>& bytes, int64_t count) {
  SafetensorsEntry entry;
  entry.dtype = dtype;
  entry.numel = count;
  entry.data = bytes;
  std::vector<float> values(static_cast<size_t>(count));
  to_float32(entry, values.data());
  return values;
}

TEST(FloatFormats, ConvertsHalves) {
  // 1, -2, the largest half, the smallest subnormal, -0, infinity.
  const std::vector<float> values =
      convert("F16", {0x00, 0x3C, 0x00, 0xC0, 0xFF, 0x7B, 0x01, 0x00, 0x00, 0x80, 0x00, 0x7C}, 6);
  EXPECT_EQ(values[0], 1.0F);
  EXPECT_EQ(values[1], -2.0F);
  EXPECT_EQ(values[2], 65504.0F);
  EXPECT_EQ(values[3], std::ldexp(1.0F, -24));
  EXPECT_TRUE(values[4] == 0 && std::signbit(values[4]));
  EXPECT_TRUE(std::isinf(values[5]));
}

TEST(FloatFormats, ConvertsBrainFloats) {
  const std::vector<float> values = convert("BF16", {0x80, 0x3F, 0x20, 0xC1, 0xC0, 0x7F}, 3);
  EXPECT_EQ(values[0], 1.0F);
  EXPECT_EQ(values[1], -10.0F);
  EXPECT_TRUE(std::isnan(values[2]));
}

TEST(FloatFormats, ReadsUnalignedFloats) {
  std::vector<uint8_t> bytes(9);
  const float expected[2] = {0.1F, -3e38F};
  std::memcpy(bytes.data() + 1, expected, 8);
  SafetensorsEntry entry;
  entry.dtype = "F32";
  entry.numel = 2;
  entry.data = ByteSpan(bytes.data() + 1, 8);
  float values[2];
  to_float32(entry, values);
  EXPECT_EQ(values[0], expected[0]);
  EXPECT_EQ(values[1], expected[1]);
  EXPECT_TRUE(is_float_dtype("BF16"));
  EXPECT_FALSE(is_float_dtype("F64"));
}

}  // namespace
}  // namespace pocketlora
