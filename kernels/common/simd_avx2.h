#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/common/simd_math.h"

namespace pocketlora {

struct FixedAvx2;
struct BytesAvx2;

/// Vectors of AVX2 + FMA + F16C. Only for files that are compiled with those flags.
struct Avx2 {
  /// The 16-bit integers of the same instruction set (common/fixed_*.h).
  using Fixed = FixedAvx2;
  using Bytes = BytesAvx2;
  using ManyBytes = void;  ///< no products of many rows in 8-bit integers
  using ManyBf16 = void;   ///< and none in bf16
  using F = __m256;
  static constexpr int kLanes = 8;
  /// Rows of the left operand in one register tile of a product.
  static constexpr int kTileRows = 6;
  /// Panels of 16 columns in one register tile.
  static constexpr int kTilePanels = 1;

  static F zero() { return _mm256_setzero_ps(); }
  static F set1(float v) { return _mm256_set1_ps(v); }
  static F load(const float* p) { return _mm256_loadu_ps(p); }
  /// A load for several uses: the compiler would otherwise repeat it as each one's memory operand.
  static F load_once(const float* p) {
    F v = load(p);
    asm("" : "+x"(v));
    return v;
  }
  static void store(float* p, F v) { _mm256_storeu_ps(p, v); }
  static F add(F a, F b) { return _mm256_add_ps(a, b); }
  static F sub(F a, F b) { return _mm256_sub_ps(a, b); }
  static F mul(F a, F b) { return _mm256_mul_ps(a, b); }
  static F div(F a, F b) { return _mm256_div_ps(a, b); }
  /// a * b + c
  static F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
  /// c - a * b
  static F fnma(F a, F b, F c) { return _mm256_fnmadd_ps(a, b, c); }
  static F max(F a, F b) { return _mm256_max_ps(a, b); }
  static F min(F a, F b) { return _mm256_min_ps(a, b); }
  static F round(F v) { return _mm256_round_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  /// 2^v for integral v in [-126, 127].
  static F pow2(F v) {
    const __m256i biased = _mm256_add_epi32(_mm256_cvtps_epi32(v), _mm256_set1_epi32(127));
    return _mm256_castsi256_ps(_mm256_slli_epi32(biased, 23));
  }
  static float sum(F v) {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
  }
  static float maximum(F v) {
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
  }

  /// The 16 values of a scheme, and the same times one scale.
  struct Codebook {
    F low, high;
  };
  using Table = Codebook;
  static Codebook codebook(const float* values) { return {load(values), load(values + 8)}; }
  static Table scaled(const Codebook& codebook, float scale) {
    const F s = set1(scale);
    return {mul(codebook.low, s), mul(codebook.high, s)};
  }

  /// 16 bytes of codes: the low nibbles through `even` to a[0..15], the high nibbles through `odd` to b[0..15].
  static void decode(const uint8_t* codes, const Table& even, const Table& odd, F a[2], F b[2]) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(codes));
    for (int i = 0; i < 2; ++i) {
      const __m256i both = _mm256_cvtepu8_epi32(i == 0 ? bytes : _mm_unpackhi_epi64(bytes, bytes));
      a[i] = lookup(even, both, _mm256_slli_epi32(both, 28));
      b[i] = lookup(odd, _mm256_srli_epi32(both, 4), _mm256_slli_epi32(both, 24));
    }
  }

  /// The unscaled values for a dot product: 32 columns at once, position p of which is column dot_column(p).
  struct DotTable {
    __m256i plane[4];  // byte i of the 16 values: a byte shuffle looks up 32 of them at once
  };
  static constexpr int kDotVectors = 4;
  static constexpr int dot_column(int p) { return p / 8 * 4 + p % 8 / 4 * 16 + p % 4; }
  static DotTable dot_table(const float* values) {
    const auto* bytes = reinterpret_cast<const uint8_t*>(values);
    alignas(16) uint8_t plane[4][16];
    for (int i = 0; i < 64; ++i) plane[i % 4][i / 4] = bytes[i];
    DotTable table;
    for (int i = 0; i < 4; ++i) {
      table.plane[i] = _mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(plane[i])));
    }
    return table;
  }
  /// 32 bytes of codes: the low nibbles to a, the high nibbles to b.
  static void decode_dot(const uint8_t* codes, const DotTable& table, F a[4], F b[4]) {
    const __m256i both = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes));
    const __m256i nibble = _mm256_set1_epi8(15);
    shuffle_planes(table, _mm256_and_si256(both, nibble), a);
    shuffle_planes(table, _mm256_and_si256(_mm256_srli_epi16(both, 4), nibble), b);
  }

  /// 16 halves to floats.
  static void load_halves(const uint8_t* p, float out[16]) {
    for (int i = 0; i < 2; ++i) {
      store(out + 8 * i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 16 * i))));
    }
  }

  static void prefetch(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0); }

  /// out[c][r] = in[r][c] for a square block of kTransposeSize; the rows of `out` are written in order.
  static PL_INLINE void transpose(const float* in, int64_t in_stride, float* out, int64_t out_stride) {
    F r[8], t[8];
    for (int i = 0; i < 8; ++i) r[i] = load(in + i * in_stride);
    for (int i = 0; i < 8; i += 2) {
      t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
      t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
      r[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
      r[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xEE);
      r[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
      r[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xEE);
    }
    for (int i = 0; i < 4; ++i) store(out + i * out_stride, _mm256_permute2f128_ps(r[i], r[i + 4], 0x20));
    for (int i = 0; i < 4; ++i) store(out + (i + 4) * out_stride, _mm256_permute2f128_ps(r[i], r[i + 4], 0x31));
  }
  static constexpr int kTransposeSize = 8;

 private:
  static void shuffle_planes(const DotTable& table, __m256i index, F out[4]) {
    __m256i byte[4];
    for (int i = 0; i < 4; ++i) byte[i] = _mm256_shuffle_epi8(table.plane[i], index);
    const __m256i low0 = _mm256_unpacklo_epi8(byte[0], byte[1]), low1 = _mm256_unpackhi_epi8(byte[0], byte[1]);
    const __m256i high0 = _mm256_unpacklo_epi8(byte[2], byte[3]), high1 = _mm256_unpackhi_epi8(byte[2], byte[3]);
    out[0] = _mm256_castsi256_ps(_mm256_unpacklo_epi16(low0, high0));
    out[1] = _mm256_castsi256_ps(_mm256_unpackhi_epi16(low0, high0));
    out[2] = _mm256_castsi256_ps(_mm256_unpacklo_epi16(low1, high1));
    out[3] = _mm256_castsi256_ps(_mm256_unpackhi_epi16(low1, high1));
  }
  /// The permutation reads 3 bits of each index; the fourth, moved to the sign bit, chooses the half of the table.
  static F lookup(const Table& table, __m256i index, __m256i fourth_bit) {
    return _mm256_blendv_ps(_mm256_permutevar8x32_ps(table.low, index), _mm256_permutevar8x32_ps(table.high, index),
                            _mm256_castsi256_ps(fourth_bit));
  }
};

}  // namespace pocketlora
