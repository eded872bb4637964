#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/common/half.h"
#include "kernels/common/test_support.h"
#include "kernels/q4/q4.h"

/// Quantized matrices for tests: a packer written from docs/layout.md, independent of the kernels' decoding.
namespace pocketlora::test {

/// A shape to test with.
struct Q4Shape {
  int64_t rows, cols;
  Quant quant;
  int group;
};

inline std::string describe(const Q4Shape& shape) {
  return std::to_string(shape.rows) + "x" + std::to_string(shape.cols) +
         (shape.quant == Quant::kNf4 ? " nf4/" : " int4/") + std::to_string(shape.group);
}

/// A quantized matrix between guard pages, and the same as codes, scales and values.
class TestMatrix {
 public:
  /// Random codes and scales; the scales lie in [0.5, 1.5) / sqrt(cols).
  TestMatrix(const Q4Shape& shape, uint32_t seed)
      : groups_((shape.cols + shape.group - 1) / shape.group),
        codes_(random_codes(shape.rows * shape.cols, seed)),
        scales_(random_scales(shape.rows * groups_, shape.cols, seed + 1)),
        bytes_(Q4Matrix{nullptr, shape.rows, shape.cols, shape.quant, shape.group}.bytes()),
        matrix_{bytes_.data(), shape.rows, shape.cols, shape.quant, shape.group} {
    pack();
  }

  const Q4Matrix& matrix() const { return matrix_; }

  /// The scale of one element's group.
  float scale(int64_t n, int64_t k) const {
    return half_to_float(scales_[static_cast<size_t>(n * groups_ + k / matrix_.group)]);
  }

  /// The value of one element by the definition in docs/layout.md.
  float value(int64_t n, int64_t k) const {
    return q4_codebook(matrix_.quant)[codes_[static_cast<size_t>(n * matrix_.cols + k)]] * scale(n, k);
  }

  /// All values, row by row.
  std::vector<float> values() const {
    std::vector<float> result;
    for (int64_t n = 0; n < matrix_.rows; ++n) {
      for (int64_t k = 0; k < matrix_.cols; ++k) result.push_back(value(n, k));
    }
    return result;
  }

 private:
  static std::vector<uint8_t> random_codes(int64_t count, uint32_t seed) {
    std::mt19937 engine(seed);
    std::vector<uint8_t> codes(static_cast<size_t>(count));
    for (uint8_t& code : codes) code = static_cast<uint8_t>(engine() >> 28);
    return codes;
  }

  static std::vector<uint16_t> random_scales(int64_t count, int64_t cols, uint32_t seed) {
    std::mt19937 engine(seed);
    std::uniform_real_distribution<float> uniform(0.5f, 1.5f);
    std::vector<uint16_t> scales(static_cast<size_t>(count));
    for (uint16_t& scale : scales) scale = float_to_half(uniform(engine) / std::sqrt(static_cast<float>(cols)));
    return scales;
  }

  /// Padding: the code of zero, and +0 as the scale of a group without a real element.
  void pack() {
    const uint8_t zero = matrix_.quant == Quant::kNf4 ? 7 : 8;
    std::memset(bytes_.data(), 0, static_cast<size_t>(bytes_.size()));
    for (int64_t n = 0; n < matrix_.row_tiles() * kTileRows; ++n) {
      for (int64_t k = 0; k < matrix_.col_tiles() * kTileCols; ++k) {
        const bool real = n < matrix_.rows && k < matrix_.cols;
        put_code(n, k, real ? codes_[static_cast<size_t>(n * matrix_.cols + k)] : zero);
      }
    }
    for (int64_t n = 0; n < matrix_.rows; ++n) {
      for (int64_t g = 0; g < groups_; ++g) put_scale(n, g, scales_[static_cast<size_t>(n * groups_ + g)]);
    }
  }

  void put_code(int64_t n, int64_t k, uint8_t code) {
    const int64_t line = k % 128 / 64 * 8 + n % 16 / 2;
    uint8_t& byte = bytes_[tile_offset(n, k) + line * 64 + k % 64];
    byte = static_cast<uint8_t>(n % 2 == 0 ? (byte & 0xF0) | code : (byte & 0x0F) | code << 4);
  }

  void put_scale(int64_t n, int64_t g, uint16_t half) {
    const int64_t k = g * matrix_.group;
    const int64_t offset = tile_offset(n, k) + 1024 + 2 * (k % 128 / matrix_.group * 16 + n % 16);
    bytes_[offset] = static_cast<uint8_t>(half & 0xFF);
    bytes_[offset + 1] = static_cast<uint8_t>(half >> 8);
  }

  int64_t tile_offset(int64_t n, int64_t k) const {
    const int64_t tile_bytes = matrix_.group == 32 ? 1152 : 1088;
    return (n / 16 * ((matrix_.cols + 127) / 128) + k / 128) * tile_bytes;
  }

  int64_t groups_;
  std::vector<uint8_t> codes_;
  std::vector<uint16_t> scales_;
  Guarded<uint8_t> bytes_;
  Q4Matrix matrix_;
};

/// Shapes with whole and partial tiles, both schemes and every group size.
inline std::vector<Q4Shape> test_shapes() {
  return {
      {16, 128, Quant::kNf4, 64},  {1, 1, Quant::kNf4, 64},      {17, 129, Quant::kNf4, 64},
      {48, 256, Quant::kNf4, 64},  {100, 576, Quant::kNf4, 64},  {50, 65, Quant::kNf4, 64},
      {16, 128, Quant::kInt4, 32}, {33, 200, Quant::kInt4, 32},  {7, 40, Quant::kInt4, 32},
      {65, 320, Quant::kInt4, 64}, {31, 384, Quant::kInt4, 128}, {130, 1000, Quant::kInt4, 128},
  };
}

}  // namespace pocketlora::test
