#include "kernels/q4/q4.h"

#include "kernels/common/half.h"

namespace pocketlora {
namespace {

// NormalFloat-4 of QLoRA (arXiv 2305.14314), appendix E.
alignas(64) constexpr float kNf4Codebook[16] = {
    -1.0f,
    -0.6961928009986877f,
    -0.5250730514526367f,
    -0.39491748809814453f,
    -0.28444138169288635f,
    -0.18477343022823334f,
    -0.09105003625154495f,
    0.0f,
    0.07958029955625534f,
    0.16093020141124725f,
    0.24611230194568634f,
    0.33791524171829224f,
    0.44070982933044434f,
    0.5626170039176941f,
    0.7229568362236023f,
    1.0f,
};
alignas(64) constexpr float kInt4Codebook[16] = {-8.0f, -7.0f, -6.0f, -5.0f, -4.0f, -3.0f, -2.0f, -1.0f,
                                                 0.0f,  1.0f,  2.0f,  3.0f,  4.0f,  5.0f,  6.0f,  7.0f};

}  // namespace

bool q4_group_supported(Quant quant, int group) {
  if (quant == Quant::kNf4) return group == 64;
  return quant == Quant::kInt4 && (group == 32 || group == 64 || group == 128);
}

const float* q4_codebook(Quant quant) { return quant == Quant::kNf4 ? kNf4Codebook : kInt4Codebook; }

void q4_dequantize_row(const Q4Matrix& w, int64_t row, float* out) {
  const float* codebook = q4_codebook(w.quant);
  const int64_t line_row = row % kTileRows / 2;
  const int shift = row % 2 == 0 ? 0 : 4;
  for (int64_t k = 0; k < w.cols; ++k) {
    const uint8_t* tile = w.tile(row / kTileRows, k / kTileCols);
    const int64_t column = k % kTileCols;
    const uint8_t byte = tile[(column / kLineBytes * 8 + line_row) * kLineBytes + column % kLineBytes];
    const uint8_t* scale = tile + kCodeBytes + 2 * (column / w.group * kTileRows + row % kTileRows);
    const uint16_t half = static_cast<uint16_t>(scale[0] | scale[1] << 8);
    out[k] = codebook[byte >> shift & 15] * half_to_float(half);
  }
}

}  // namespace pocketlora
