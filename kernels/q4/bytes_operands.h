#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "kernels/common/parallel.h"
#include "kernels/common/scratch.h"
#include "kernels/q4/bytes_gemm.h"
#include "kernels/q4/decode.h"
#include "kernels/q4/q4.h"

/// The operands of bytes_gemm.h, for T = ManyBytesAvx512Vnni and its kin (common/many_bytes_*.h): rows of activations
/// and 4-bit weights as 8-bit integers.
///
/// Each chunk of a row of activations has integers of at most 127 and a scale of its own. Forward, W's integers are
/// those of its codebook and its scales those of its groups; backward, where the depth crosses W's groups, the columns
/// of a group in a chunk of rows share the scale that their largest one asks for.
namespace pocketlora::q4 {

/// The unit of nf4 forward: of the numbers up to 127 the one that its 16 values suit best. They are off by 0.47 % of
/// their norm, by 0.57 % with 127. int4's are exact.
constexpr float kNf4ByteUnits = 124.0f;
/// The largest integer of activations, and backward of W.
constexpr float kByteLimit = 127.0f;
/// The longest chunk; backward also the rows of W in one.
constexpr int64_t kByteChunk = 64;

/// Rounds `count` <= kByteChunk values to integers, with zeros up to kByteChunk. @return the scale, not finite when a
/// value is not. @param sum of the integers, where T::kOffset asks for it.
template <class T>
float round_bytes(const float* x, int64_t count, int8_t* out, int32_t* sum) {
  // Below it, the limit / largest would overflow; such a chunk adds nothing that fp32 could hold beside the others.
  constexpr float kSmallest = 1e-30f;
  float rest[kByteChunk];
  if (count < kByteChunk) {
    std::fill(std::copy(x, x + count, rest), rest + kByteChunk, 0.0f);
    x = rest;
  }
  const int32_t bits = T::largest_bits(x);
  float largest;
  std::memcpy(&largest, &bits, sizeof(largest));
  const bool vanishes = largest < kSmallest;
  *sum = T::round64(x, vanishes ? 0.0f : kByteLimit / largest, out);
  return vanishes ? 0.0f : largest / kByteLimit;
}

/// x^T as panels of 16 rows of x.
struct BytePanels {
  const uint8_t* values;  ///< [ceil(n_rows / 16)][chunks() * chunk / T::kDepth][16 rows][T::kDepth]
  const float* scales;    ///< [ceil(n_rows / 16)][chunks()][16]
  const int32_t* begin;   ///< likewise
  int64_t n_rows, cols, chunk;

  int64_t chunks() const { return gemm::ceil_div(cols, chunk); }
  int64_t panels() const { return gemm::ceil_div(n_rows, bytes_gemm::kPanel); }
  int64_t value_step() const { return chunks() * chunk * bytes_gemm::kPanel; }
  int64_t scale_step() const { return chunks() * bytes_gemm::kPanel; }
  /// All panels from a chunk on.
  bytes_gemm::Panels from(int64_t first) const {
    return {values + first * chunk * bytes_gemm::kPanel, scales + first * bytes_gemm::kPanel,
            begin + first * bytes_gemm::kPanel, value_step(), scale_step()};
  }
};

/// One chunk of `count` <= 16 rows of x as one panel; rows from `count` on become 0.
template <class T>
void pack_byte_chunk(const float* x, int64_t row_step, int64_t count, int64_t cols, int64_t chunk, uint8_t* out,
                     float* scales, int32_t* begin) {
  alignas(64) int8_t rows[bytes_gemm::kPanel][kByteChunk];
  for (int64_t i = 0; i < bytes_gemm::kPanel; ++i) {
    int32_t sum = 0;
    if (i < count) {
      scales[i] = round_bytes<T>(x + i * row_step, cols, rows[i], &sum);
    } else {
      std::fill_n(rows[i], kByteChunk, int8_t{0});
      scales[i] = 0.0f;
    }
    begin[i] = -T::kOffset * sum;
  }
  if constexpr (T::kDepth == 4) {
    // Four integers are moved as one float.
    constexpr int64_t kBlock = T::kTransposeSize;
    auto* fours = reinterpret_cast<float*>(out);
    if (chunk == kByteChunk) {
      return gemm::transpose16<T>(reinterpret_cast<const float*>(rows), kByteChunk / 4, fours, bytes_gemm::kPanel);
    }
    for (int64_t q = 0; q < chunk / 4; q += kBlock) {
      for (int64_t i = 0; i < bytes_gemm::kPanel; i += kBlock) {
        T::transpose(reinterpret_cast<const float*>(&rows[i][4 * q]), kByteChunk / 4,
                     fours + q * bytes_gemm::kPanel + i, bytes_gemm::kPanel);
      }
    }
  } else {
    for (int64_t k = 0; k < chunk; k += T::kDepth) {
      for (const auto& row : rows) out = std::copy(row + k, row + k + T::kDepth, out);
    }
  }
}

/// Packs x [n_rows, cols] into `frame`.
template <class T>
BytePanels pack_byte_panels(const float* x, int64_t n_rows, int64_t cols, int64_t chunk, ScratchFrame& frame) {
  BytePanels packed{nullptr, nullptr, nullptr, n_rows, cols, chunk};
  const int64_t scale_count = packed.panels() * packed.scale_step();
  auto* values = static_cast<uint8_t*>(frame.bytes(static_cast<size_t>(packed.panels() * packed.value_step())));
  float* scales = frame.floats(scale_count);
  auto* begin = static_cast<int32_t*>(frame.bytes(static_cast<size_t>(scale_count) * sizeof(int32_t)));
  packed.values = values;
  packed.scales = scales;
  packed.begin = begin;
  parallel_for(0, packed.panels(), 1, [&](int64_t first, int64_t last) {
    for (int64_t p = first; p < last; ++p) {
      const int64_t i = p * bytes_gemm::kPanel;
      for (int64_t j = 0; j < packed.chunks(); ++j) {
        const int64_t at = p * packed.scale_step() + j * bytes_gemm::kPanel;
        pack_byte_chunk<T>(x + i * cols + j * chunk, cols, std::min(n_rows - i, bytes_gemm::kPanel),
                           std::min(chunk, cols - j * chunk), chunk,
                           values + p * packed.value_step() + j * chunk * bytes_gemm::kPanel, scales + at, begin + at);
      }
    }
  });
  return packed;
}

/// Activations as row blocks, with chunks of kByteChunk; as many rows as the multiplication takes at once belong
/// together (bytes_gemm.h).
struct ByteRows {
  const uint8_t* values;  ///< [chunk][rows][kByteChunk]
  const float* scales;    ///< [chunk][rows]
  const int32_t* begin;   ///< likewise
  int64_t rows;           ///< with those that fill up the last ones

  /// All rows from a chunk on.
  bytes_gemm::Rows from(int64_t first) const {
    return {values + first * rows * kByteChunk, scales + first * rows, begin + first * rows, rows};
  }
};

/// Packs x [n_rows, ldx], columns [0, cols), into `frame`.
template <class T>
ByteRows pack_byte_rows(const float* x, int64_t ldx, int64_t n_rows, int64_t cols, ScratchFrame& frame) {
  constexpr int64_t kOnce = T::kRowsAtOnce;
  const int64_t chunks = gemm::ceil_div(cols, kByteChunk), rows = gemm::round_up(n_rows, kOnce);
  auto* values = static_cast<uint8_t*>(frame.bytes(static_cast<size_t>(chunks * rows * kByteChunk)));
  float* scales = frame.floats(chunks * rows);
  auto* begin = static_cast<int32_t*>(frame.bytes(static_cast<size_t>(chunks * rows) * sizeof(int32_t)));
  const auto round = [&](int64_t i, int64_t j, int8_t* out) {
    int32_t sum = 0;
    scales[j * rows + i] =
        round_bytes<T>(x + i * ldx + j * kByteChunk, std::min(kByteChunk, cols - j * kByteChunk), out, &sum);
    begin[j * rows + i] = -T::kOffset * sum;
  };
  parallel_for(0, rows / kOnce, 16, [&](int64_t first, int64_t last) {
    for (int64_t i = first * kOnce; i < last * kOnce; i += kOnce) {
      for (int64_t j = 0; j < chunks; ++j) {
        uint8_t* out = values + (j * rows + i) * kByteChunk;
        if constexpr (kOnce == 1) {
          round(i, j, reinterpret_cast<int8_t*>(out));
        } else {
          int8_t both[2][kByteChunk] = {};
          round(i, j, both[0]);
          if (i + 1 < n_rows) round(i + 1, j, both[1]);
          T::join_rows(both[0], both[1], out);
        }
      }
    }
  });
  return {values, scales, begin, rows};
}

/// The values of a scheme as integers of the forward product.
struct ByteCodes {
  uint8_t values[16];  ///< with the offset
  float unit;          ///< what an integer is worth

  ByteCodes(Quant quant, int offset) : unit(quant == Quant::kNf4 ? 1.0f / kNf4ByteUnits : 1.0f) {
    for (int i = 0; i < 16; ++i) {
      values[i] = static_cast<uint8_t>(std::lrint(q4_codebook(quant)[i] / unit) + offset);
    }
  }
};

/// A tile's line as the chunks of its two rows. @param out the even row's first chunk. @param chunk_step bytes
/// from one chunk to the next.
template <class T, int64_t kChunk>
inline void decode_byte_line(const uint8_t* codes, typename T::Table table, uint8_t* out, int64_t chunk_step) {
  typename T::I rows[2];
  T::decode_line(codes, table, table, rows);
  if constexpr (T::kRowsAtOnce == 2) {
    // Together they are as long as a chunk of both, or as two.
    T::join_rows(rows);
    T::store_bytes(out, rows[0]);
    T::store_bytes(out + (kChunk == kByteChunk ? kByteChunk : chunk_step), rows[1]);
    return;
  }
  PL_UNROLL for (int64_t odd = 0; odd < 2; ++odd) {
    if constexpr (kChunk == kByteChunk) {
      T::store_bytes(out + odd * kChunk, rows[odd]);
    } else {
      uint8_t line[kByteChunk];
      T::store_bytes(line, rows[odd]);
      for (int64_t j = 0; j < kByteChunk / kChunk; ++j) {
        std::memcpy(out + j * chunk_step + odd * kChunk, line + j * kChunk, kChunk);
      }
    }
  }
}

/// Row tiles [row_tile, row_tile + row_tiles) x column tiles [col_tile, col_tile + col_tiles) of W as row blocks.
/// @param ahead bytes from a tile to the one of the next block that it fetches. @param out
/// [chunk][16 * row_tiles][kChunk]. @param scales [chunk][16 * row_tiles].
template <class T, int64_t kChunk>
void decode_byte_rows(const Q4Matrix& w, typename T::Table table, float unit, int64_t row_tile, int64_t row_tiles,
                      int64_t col_tile, int64_t col_tiles, int64_t ahead, uint8_t* out, float* scales) {
  const int64_t rows = row_tiles * kTileRows, groups = w.groups_per_tile();
  constexpr int64_t kChunks = kTileCols / kChunk;
  for (int64_t t = 0; t < row_tiles; ++t) {
    for (int64_t c = 0; c < col_tiles; ++c) {
      const uint8_t* tile = w.tile(row_tile + t, col_tile + c);
      T::prefetch_far(tile + ahead + kCodeBytes);
      const TileScales<T> tile_scales(tile, groups);
      for (int64_t j = 0; j < kChunks; ++j) {
        T::scale_rows(tile_scales.values[j * groups / kChunks], unit,
                      scales + (c * kChunks + j) * rows + t * kTileRows);
      }
      for (int64_t half = 0; half < 2; ++half) {
        const uint8_t* codes = tile + half * 8 * kLineBytes;
        uint8_t* to = out + (c * kTileCols + half * kByteChunk) * rows + t * kTileRows * kChunk;
        for (int64_t pair = 0; pair < kTileRows / 2; ++pair, codes += kLineBytes, to += 2 * kChunk) {
          T::prefetch_far(codes + ahead);
          decode_byte_line<T, kChunk>(codes, table, to, rows * kChunk);
        }
      }
    }
  }
}

/// One chunk of one column tile of W: row tiles [row_tile, row_tile + row_tiles), at most kByteChunk rows, as panels.
/// @param ahead bytes from a tile to the one of the next block that it fetches.
/// @param out [8][panel / 16 / T::kDepth][16][T::kDepth], from the chunk's first row on. @param panel bytes from one
/// panel to the next.
/// @param scales of the chunk in the first panel. @param scale_panel elements from there to the next panel.
template <class T>
void decode_byte_columns(const Q4Matrix& w, const typename T::Codebook& codebook, int64_t row_tile, int64_t row_tiles,
                         int64_t col_tile, int64_t ahead, uint8_t* out, int64_t panel, float* scales,
                         int64_t scale_panel) {
  const int64_t groups = w.groups_per_tile();
  const float largest_value = w.quant == Quant::kNf4 ? 1.0f : 8.0f;
  TileScales<T> tile_scales[kByteChunk / kTileRows];
  for (int64_t t = 0; t < row_tiles; ++t) tile_scales[t].read(w.tile(row_tile + t, col_tile), groups);
  float inverse[4];
  for (int64_t g = 0; g < groups; ++g) {
    float largest = 0.0f;
    for (int64_t t = 0; t < row_tiles; ++t) {
      for (const float scale : tile_scales[t].values[g]) largest = std::max(largest, std::fabs(scale));
    }
    const float limit = largest * largest_value;
    inverse[g] = largest == 0.0f ? 0.0f : kByteLimit / limit;
    for (int64_t u = g * w.group / kUnit; u < (g + 1) * w.group / kUnit; ++u) {
      std::fill_n(scales + u * scale_panel, kUnit, limit / kByteLimit);
    }
  }
  for (int64_t t = 0; t < row_tiles; ++t) {
    const uint8_t* tile = w.tile(row_tile + t, col_tile);
    T::prefetch_far(tile + ahead + kCodeBytes);
    for (int64_t half = 0; half < 2; ++half) {
      // The groups of the lower and of the upper 32 columns of the half.
      const int64_t lower = half * groups / 2, upper = (half * 64 + 32) / w.group;
      const float *low = tile_scales[t].values[lower], *high = tile_scales[t].values[upper];
      const auto table = [&](int64_t row) {
        const typename T::Table first = T::scaled_table(codebook, low[row] * inverse[lower]);
        if (lower == upper) return first;
        return T::halves(first, T::scaled_table(codebook, high[row] * inverse[upper]));
      };
      for (int64_t row = 0; row < kTileRows; row += T::kDepth) {
        const uint8_t* codes = tile + (half * 8 + row / 2) * kLineBytes;
        typename T::I rows[T::kDepth];
        PL_UNROLL for (int64_t r = 0; r < T::kDepth; r += 2) T::prefetch_far(codes + ahead + r / 2 * kLineBytes);
        PL_UNROLL for (int64_t r = 0; r < T::kDepth; r += 2) {
          T::decode_line(codes + r / 2 * kLineBytes, table(row + r), table(row + r + 1), rows + r);
        }
        T::store_panels(rows, out + 4 * half * panel + (t * kTileRows + row) * bytes_gemm::kPanel, panel);
      }
    }
  }
}

}  // namespace pocketlora::q4
