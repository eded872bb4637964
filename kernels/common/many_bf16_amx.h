#pragma once

#include "kernels/common/simd_amx.h"

namespace pocketlora {

/// bf16 for products of many rows (q4/bf16_gemm.h) with the tiles of AMX: 16 rows of 32 depths by 16 columns. Only for
/// files that are compiled with its flags.
///
/// Source: Intel Architecture Instruction Set Extensions Programming Reference, chapter 3 (TDPBF16PS: sums in fp32,
/// pairs of the depth in order, denormals are zero).
struct ManyBf16Amx : Avx512 {
  static constexpr int kRegisterRows = 32, kRegisterPanels = 2;
  static constexpr int kRowsAtOnce = 16, kDepth = 2;
  /// Tiles of W's rows in one block of the forward product: those of a register tile, which x streams past.
  static constexpr int64_t kForwardRowTiles = 2;
  using I = __m512i;  ///< 32 columns of one row

  /// The unit is switched on while one lives: eight tiles of 16 rows and 64 bytes.
  struct Unit {
    Unit() {
      struct alignas(64) {
        uint8_t palette = 1, start_row = 0, reserved[14] = {};
        uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
        uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
      } config;
      memory_is_there();
      asm volatile("" : : "m"(config));
      _tile_loadconfig(&config);
    }
    ~Unit() { _tile_release(); }
    Unit(const Unit&) = delete;
    Unit& operator=(const Unit&) = delete;
  };

  /// One register tile: kBlocks times 16 rows by kPanels panels. @param a_step elements from one chunk of 32 depths to
  /// the next. @param c [16 * kBlocks][ldc].
  template <int kBlocks, int kPanels>
  static void multiply(const uint16_t* a, int64_t a_step, const uint16_t* b, int64_t b_step, int64_t chunks, float* c,
                       int64_t ldc, bool accumulate) {
    static_assert(kBlocks <= 2 && kPanels <= 2, "the numbers of tiles are part of the instructions");
    constexpr int64_t kRow = 64;
    const int64_t row = ldc * static_cast<int64_t>(sizeof(float));
    float* const lower = c + 16 * ldc;
    memory_is_there();
    if (accumulate) {
      _tile_loadd(0, c, row);
      if constexpr (kPanels == 2) _tile_loadd(1, c + 16, row);
      if constexpr (kBlocks == 2) _tile_loadd(2, lower, row);
      if constexpr (kBlocks == 2 && kPanels == 2) _tile_loadd(3, lower + 16, row);
    } else {
      _tile_zero(0);
      if constexpr (kPanels == 2) _tile_zero(1);
      if constexpr (kBlocks == 2) _tile_zero(2);
      if constexpr (kBlocks == 2 && kPanels == 2) _tile_zero(3);
    }
    for (int64_t i = 0; i < chunks; ++i, a += a_step, b += 16 * 32) {
      _tile_loadd(6, b, kRow);
      _tile_loadd(4, a, kRow);
      _tile_dpbf16ps(0, 4, 6);
      if constexpr (kPanels == 2) {
        _tile_loadd(7, b + b_step, kRow);
        _tile_dpbf16ps(1, 4, 7);
      }
      if constexpr (kBlocks == 2) {
        _tile_loadd(5, a + 16 * 32, kRow);
        _tile_dpbf16ps(2, 5, 6);
        if constexpr (kPanels == 2) _tile_dpbf16ps(3, 5, 7);
      }
    }
    _tile_stored(0, c, row);
    if constexpr (kPanels == 2) _tile_stored(1, c + 16, row);
    if constexpr (kBlocks == 2) _tile_stored(2, lower, row);
    if constexpr (kBlocks == 2 && kPanels == 2) _tile_stored(3, lower + 16, row);
    memory_is_there();
  }

  /// 32 values, rounded to nearest even; denormals become 0.
  static I round(const float* x) { return (I)_mm512_cvtne2ps_pbh(load(x + 16), load(x)); }
  static void store(uint16_t* p, I v) { _mm512_storeu_si512(p, v); }
  using Avx512::store;
  /// Two rows of a row block.
  static void store_rows(const I rows[2], uint16_t* out) {
    store(out, rows[0]);
    store(out + 32, rows[1]);
  }
  /// Into the second cache; beyond a matrix it has no effect.
  static void prefetch_far(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T1); }

  /// The values of a scheme times a scale, twice over: a look-up reads five bits of an index.
  using Table = __m512i;
  static Table scaled_table(const Codebook& codebook, float scale) {
    const auto values = (__m256i)_mm512_cvtneps_pbh(mul(codebook.values, set1(scale)));
    return _mm512_broadcast_i64x4(values);
  }
  /// 32 bytes of codes: the low nibbles through `even`, the high nibbles through `odd`.
  static void decode(const uint8_t* codes, Table even, Table odd, I rows[2]) {
    const __m512i both = _mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes)));
    rows[0] = _mm512_permutexvar_epi16(both, even);
    rows[1] = _mm512_permutexvar_epi16(_mm512_srli_epi16(both, 4), odd);
  }
  /// The same in the order that store_panels() takes: of 8 columns in 128 bits, 4 of the first panel and 4 of the
  /// second. A look-up does not read an index's upper byte.
  static void decode_columns(const uint8_t* codes, Table even, Table odd, I rows[2]) {
    const __m512i lanes = _mm512_setr_epi64(0, 0, 0x0404040404040404, 0x0404040404040404, 0x0808080808080808,
                                            0x0808080808080808, 0x0C0C0C0C0C0C0C0C, 0x0C0C0C0C0C0C0C0C);
    const __m128i in_lane = _mm_setr_epi8(0, 0, 1, 1, 2, 2, 3, 3, 16, 16, 17, 17, 18, 18, 19, 19);
    const __m512i order = _mm512_add_epi8(_mm512_broadcast_i32x4(in_lane), lanes);
    const __m256i line = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes));
    const __m512i both = _mm512_permutexvar_epi8(order, _mm512_castsi256_si512(line));
    rows[0] = _mm512_permutexvar_epi16(both, even);
    rows[1] = _mm512_permutexvar_epi16(_mm512_srli_epi16(both, 4), odd);
  }
  /// 32 columns of two rows as two panels of 16 columns, the rows of a column side by side. @param panel elements from
  /// one panel to the next.
  static void store_panels(const I rows[2], uint16_t* out, int64_t panel) {
    store(out, _mm512_unpacklo_epi16(rows[0], rows[1]));
    store(out + panel, _mm512_unpackhi_epi16(rows[0], rows[1]));
  }

 private:
  /// The instructions' intrinsics do not tell GCC 12 that they read and write memory.
  static void memory_is_there() { asm volatile("" ::: "memory"); }
};

}  // namespace pocketlora
