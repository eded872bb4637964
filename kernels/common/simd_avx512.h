#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/common/simd_avx2.h"
#include "kernels/common/simd_math.h"

namespace pocketlora {

struct FixedAvx512;
struct BytesAvx512;

/// Vectors of AVX-512 (F, BW, DQ, VL). Only for files that are compiled with those flags. The members mean what they
/// mean in Avx2.
struct Avx512 {
  using Fixed = FixedAvx512;
  using Bytes = BytesAvx512;
  using ManyBytes = void;  ///< no products of many rows in 8-bit integers
  using ManyBf16 = void;   ///< and none in bf16
  using F = __m512;
  static constexpr int kLanes = 16;
  static constexpr int kTileRows = 8;
  static constexpr int kTilePanels = 2;

  static F zero() { return _mm512_setzero_ps(); }
  static F set1(float v) { return _mm512_set1_ps(v); }
  static F load(const float* p) { return _mm512_loadu_ps(p); }
  static F load_once(const float* p) { return load(p); }
  static void store(float* p, F v) { _mm512_storeu_ps(p, v); }
  static F add(F a, F b) { return _mm512_add_ps(a, b); }
  static F sub(F a, F b) { return _mm512_sub_ps(a, b); }
  static F mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static F div(F a, F b) { return _mm512_div_ps(a, b); }
  static F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  static F fnma(F a, F b, F c) { return _mm512_fnmadd_ps(a, b, c); }
  static F max(F a, F b) { return _mm512_max_ps(a, b); }
  static F min(F a, F b) { return _mm512_min_ps(a, b); }
  static F round(F v) { return _mm512_roundscale_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  static F pow2(F v) {
    const __m512i biased = _mm512_add_epi32(_mm512_cvtps_epi32(v), _mm512_set1_epi32(127));
    return _mm512_castsi512_ps(_mm512_slli_epi32(biased, 23));
  }
  static float sum(F v) { return Avx2::sum(Avx2::add(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1))); }
  static float maximum(F v) {
    return Avx2::maximum(Avx2::max(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1)));
  }

  struct Codebook {
    F values;
  };
  using Table = Codebook;
  static Codebook codebook(const float* values) { return {load(values)}; }
  static Table scaled(const Codebook& codebook, float scale) { return {mul(codebook.values, set1(scale))}; }

  /// The permutation reads the low 4 bits of each index: the low nibbles need no mask.
  static void decode(const uint8_t* codes, const Table& even, const Table& odd, F a[1], F b[1]) {
    const __m512i both = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(codes)));
    a[0] = _mm512_permutexvar_ps(both, even.values);
    b[0] = _mm512_permutexvar_ps(_mm512_srli_epi32(both, 4), odd.values);
  }

  /// 64 columns at once: columns 0, 4, .. 60, then those that are one, two and three on.
  using DotTable = Codebook;
  static constexpr int kDotVectors = 4;
  /// Puts 64 columns in that order.
  static void order_dot(const float* x, float* out) {
    const __m512i even = _mm512_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28, 1, 5, 9, 13, 17, 21, 25, 29);
    const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(2));
    const F a = load(x), b = load(x + 16), c = load(x + 32), d = load(x + 48);
    const F a01 = _mm512_permutex2var_ps(a, even, b), a23 = _mm512_permutex2var_ps(a, odd, b);
    const F c01 = _mm512_permutex2var_ps(c, even, d), c23 = _mm512_permutex2var_ps(c, odd, d);
    store(out, _mm512_shuffle_f32x4(a01, c01, 0x44));
    store(out + 16, _mm512_shuffle_f32x4(a01, c01, 0xEE));
    store(out + 32, _mm512_shuffle_f32x4(a23, c23, 0x44));
    store(out + 48, _mm512_shuffle_f32x4(a23, c23, 0xEE));
  }
  static DotTable dot_table(const float* values) { return codebook(values); }
  /// A look-up reads the low 4 bits of a dword: codes need no widening, only shifts, which run beside the look-ups.
  static void decode_dot(const uint8_t* codes, const DotTable& table, F a[4], F b[4]) {
    const __m512i line = _mm512_loadu_si512(codes);
    const auto look_up = [&](__m512i index) { return _mm512_permutexvar_ps(index, table.values); };
    a[0] = look_up(line);
    b[0] = look_up(_mm512_srli_epi32(line, 4));
    a[1] = look_up(_mm512_srli_epi32(line, 8));
    b[1] = look_up(_mm512_srli_epi32(line, 12));
    a[2] = look_up(_mm512_srli_epi32(line, 16));
    b[2] = look_up(_mm512_srli_epi32(line, 20));
    a[3] = look_up(_mm512_srli_epi32(line, 24));
    b[3] = look_up(_mm512_srli_epi32(line, 28));
  }
  /// `first` for the first 32 of 64 columns, `second` for the others.
  static F set_halves(float first, float second) { return _mm512_mask_mov_ps(set1(first), 0xFF00, set1(second)); }

  static void load_halves(const uint8_t* p, float out[16]) {
    store(out, _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))));
  }

  static void prefetch(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0); }

  /// The same for 16 x 16.
  static PL_INLINE void transpose16(const float* in, int64_t in_stride, float* out, int64_t out_stride) {
    F a[16], b[16];
    PL_UNROLL for (int i = 0; i < 16; ++i) a[i] = load(in + i * in_stride);
    PL_UNROLL for (int i = 0; i < 16; i += 2) {
      b[i] = _mm512_unpacklo_ps(a[i], a[i + 1]);
      b[i + 1] = _mm512_unpackhi_ps(a[i], a[i + 1]);
    }
    PL_UNROLL for (int i = 0; i < 16; i += 4) {
      a[i] = pairs<0>(b[i], b[i + 2]);
      a[i + 1] = pairs<0xFF>(b[i], b[i + 2]);
      a[i + 2] = pairs<0>(b[i + 1], b[i + 3]);
      a[i + 3] = pairs<0xFF>(b[i + 1], b[i + 3]);
    }
    PL_UNROLL for (int i = 0; i < 4; ++i) {
      const F low = _mm512_shuffle_f32x4(a[i], a[i + 4], 0x88), high = _mm512_shuffle_f32x4(a[i], a[i + 4], 0xDD);
      const F low2 = _mm512_shuffle_f32x4(a[i + 8], a[i + 12], 0x88);
      const F high2 = _mm512_shuffle_f32x4(a[i + 8], a[i + 12], 0xDD);
      store(out + i * out_stride, _mm512_shuffle_f32x4(low, low2, 0x88));
      store(out + (i + 8) * out_stride, _mm512_shuffle_f32x4(low, low2, 0xDD));
      store(out + (i + 4) * out_stride, _mm512_shuffle_f32x4(high, high2, 0x88));
      store(out + (i + 12) * out_stride, _mm512_shuffle_f32x4(high, high2, 0xDD));
    }
  }
  static PL_INLINE void transpose(const float* in, int64_t in_stride, float* out, int64_t out_stride) {
    Avx2::transpose(in, in_stride, out, out_stride);
  }
  static constexpr int kTransposeSize = 8;

 private:
  /// The lower (0) or the upper (0xFF) pairs of two vectors' 128 bits, side by side.
  template <int kUpper>
  static F pairs(F a, F b) {
    const __m512d x = _mm512_castps_pd(a), y = _mm512_castps_pd(b);
    return _mm512_castpd_ps(kUpper == 0 ? _mm512_unpacklo_pd(x, y) : _mm512_unpackhi_pd(x, y));
  }
};

}  // namespace pocketlora
