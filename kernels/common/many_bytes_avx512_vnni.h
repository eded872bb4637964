#pragma once

#include <cstring>

#include "kernels/common/simd_avx512_vnni.h"

namespace pocketlora {

/// 8-bit integers of AVX-512 VNNI for products of many rows (q4/bytes_gemm.h). Only for files that are compiled with
/// its flags.
///
/// The instruction multiplies unsigned with signed bytes and sums in 32 bits: kOffset is added to the integers of W,
/// and a sum begins with -kOffset times that of the other operand's.
struct ManyBytesAvx512Vnni : Avx512 {
  static constexpr int kRegisterRows = 6, kRegisterPanels = 2;
  static constexpr int kDepth = 4, kRowsAtOnce = 1;  ///< of one multiplication
  static constexpr bool kSumsStay = true;            ///< there are registers for the sums of C and those of a chunk
  static constexpr int kOffset = 128;
  using I = __m512i;     ///< 16 columns, four depths each
  using Sums = __m512i;  ///< of 16 columns

  static I load_bytes(const void* p) { return _mm512_loadu_si512(p); }
  /// Four depths of a row, for 16 columns.
  static I repeat(const uint8_t* p) {
    int32_t four;
    std::memcpy(&four, p, sizeof(four));
    return _mm512_set1_epi32(four);
  }
  static Sums load_sums(const int32_t* p) { return _mm512_loadu_si512(p); }
  static Sums set_sums(int32_t v) { return _mm512_set1_epi32(v); }
  /// sums + w * x over four depths. @param w with the offset.
  static Sums multiply_add(I w, I x, Sums sums) {
    sums = _mm512_dpbusd_epi32(sums, w, x);
    // GCC would move the sums about to save what it need not.
    asm volatile("" : "+v"(sums));
    return sums;
  }
  static F to_floats(Sums sums) { return _mm512_cvtepi32_ps(sums); }

  /// @return the bits of the largest magnitude of 64 values: compared as integers, a NaN is larger than infinity.
  static int32_t largest_bits(const float* x) {
    const __m512i sign = _mm512_set1_epi32(0x7FFFFFFF);
    __m512i most = _mm512_setzero_si512();
    for (int i = 0; i < 64; i += 16) {
      most = _mm512_max_epi32(most, _mm512_and_si512(_mm512_loadu_si512(x + i), sign));
    }
    return _mm512_reduce_max_epi32(most);
  }
  /// 64 values times `by`, rounded to nearest even; beyond 8 bits they saturate. @return their sum.
  static int32_t round64(const float* x, float by, int8_t* out) {
    const F factor = set1(by);
    const auto quarter = [&](int i) { return _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(mul(load(x + i), factor))); };
    // In registers: reading back four stores as one would wait for all of them.
    const __m256i low = _mm256_inserti128_si256(_mm256_castsi128_si256(quarter(0)), quarter(16), 1);
    const __m256i high = _mm256_inserti128_si256(_mm256_castsi128_si256(quarter(32)), quarter(48), 1);
    const __m512i bytes = _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
    _mm512_storeu_si512(out, bytes);
    return _mm512_reduce_add_epi32(_mm512_dpbusd_epi32(_mm512_setzero_si512(), _mm512_set1_epi8(1), bytes));
  }
  /// Into the second cache; beyond a matrix it has no effect.
  static void prefetch_far(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T1); }

  /// The scales of 16 rows times `unit`.
  static void scale_rows(const float* scales, float unit, float* out) { store(out, mul(load(scales), set1(unit))); }

  /// A table of 16 bytes, in each 128 bits.
  using Table = __m512i;
  static Table table(const uint8_t* bytes) {
    return _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes)));
  }
  /// The values of a scheme times `factor`, with the offset.
  static Table scaled_table(const Codebook& codebook, float factor) {
    const F values = fma(codebook.values, set1(factor), set1(static_cast<float>(kOffset)));
    return _mm512_broadcast_i32x4(_mm512_cvtepi32_epi8(_mm512_cvtps_epi32(values)));
  }
  /// One for the lower and one for the upper 32 columns of a line.
  static Table halves(Table lower, Table upper) { return _mm512_inserti64x4(lower, _mm512_castsi512_si256(upper), 1); }
  /// A line of codes as 64 columns of the even row and of the odd one.
  static void decode_line(const uint8_t* codes, Table even, Table odd, I rows[2]) {
    const __m512i both = _mm512_loadu_si512(codes), nibble = _mm512_set1_epi8(15);
    rows[0] = _mm512_shuffle_epi8(even, _mm512_and_si512(both, nibble));
    rows[1] = _mm512_shuffle_epi8(odd, _mm512_and_si512(_mm512_srli_epi16(both, 4), nibble));
  }
  static void store_bytes(uint8_t* p, I v) { _mm512_storeu_si512(p, v); }
  /// 64 columns of kDepth rows as four panels of 16 columns, the rows of a column side by side. @param panel bytes from
  /// one panel to the next.
  static void store_panels(const I rows[4], uint8_t* out, int64_t panel) {
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    I mixed[4];
    for (int r = 0; r < 4; ++r) mixed[r] = _mm512_permutexvar_epi32(order, rows[r]);
    const I a = _mm512_unpacklo_epi8(mixed[0], mixed[1]), b = _mm512_unpacklo_epi8(mixed[2], mixed[3]);
    const I c = _mm512_unpackhi_epi8(mixed[0], mixed[1]), d = _mm512_unpackhi_epi8(mixed[2], mixed[3]);
    store_bytes(out, _mm512_unpacklo_epi16(a, b));
    store_bytes(out + panel, _mm512_unpackhi_epi16(a, b));
    store_bytes(out + 2 * panel, _mm512_unpacklo_epi16(c, d));
    store_bytes(out + 3 * panel, _mm512_unpackhi_epi16(c, d));
  }
};

}  // namespace pocketlora
