#pragma once

#include <cstdint>

#include "kernels/attention/cache.h"
#include "kernels/common/isa.h"

namespace pocketlora {

/** Sizes of one attention call; num_heads is a multiple of num_kv_heads (grouped-query attention). */
struct AttentionShape {
  int64_t n_rows;
  int64_t num_heads;
  int64_t num_kv_heads;
  int64_t head_dim;
  float scale;         ///< applied to every score
  int64_t window = 0;  ///< keys that a row sees at most, itself included; 0 = all before it
  float softcap = 0;   ///< a bound c that the scores approach: c · tanh(score / c); 0 = none
};

/**
 * Causal attention inside each segment, over the rows j ≤ i of i's segment, j > i − window:
 *   s_ij = scale · q_i · k_j, or softcap · tanh(scale · q_i · k_j / softcap)
 *   lse_i = log Σ_j exp(s_ij)   out_i = Σ_j exp(s_ij − lse_i) · v_j
 * Query head h reads key/value head h / (num_heads / num_kv_heads). Memory is linear in the rows; the result does not
 * depend on the number of threads.
 *
 * @param[in] q [n_rows, num_heads · head_dim]
 * @param[in] k,v [n_rows, num_kv_heads · head_dim]
 * @param[in] segments [num_segments + 1] ascending offsets from 0 to n_rows
 * @param[out] out [n_rows, num_heads · head_dim]
 * @param[out] lse [n_rows, num_heads]
 */
void attention(const float* q, const float* k, const float* v, const int64_t* segments, int64_t num_segments,
               const AttentionShape& shape, float* out, float* lse);
/** The same with the kernel for one instruction set. */
void attention(const float* q, const float* k, const float* v, const int64_t* segments, int64_t num_segments,
               const AttentionShape& shape, float* out, float* lse, Isa isa);

/**
 * Gradients of `attention`; the probabilities are recomputed from lse.
 *   P_ij = exp(s_ij − lse_i)   dS_ij = P_ij · (dout_i · v_j − dout_i · out_i) · scale [· (1 − (s_ij / softcap)²)]
 *   dq_i = Σ_j dS_ij k_j   dk_j = Σ_i dS_ij q_i   dv_j = Σ_i P_ij dout_i
 *
 * @param[in] dout,q,k,v,out,lse,segments as in `attention`
 * @param[out] dq as q
 * @param[out] dk,dv as k
 */
void attention_backward(const float* dout, const float* q, const float* k, const float* v, const float* out,
                        const float* lse, const int64_t* segments, int64_t num_segments, const AttentionShape& shape,
                        float* dq, float* dk, float* dv);
/** The same with the kernel for one instruction set. */
void attention_backward(const float* dout, const float* q, const float* k, const float* v, const float* out,
                        const float* lse, const int64_t* segments, int64_t num_segments, const AttentionShape& shape,
                        float* dq, float* dk, float* dv, Isa isa);

/** Stored rows before the new ones. */
struct KvCacheRows {
  CacheFormat format;
  const uint8_t *k, *v;  ///< [at least past, num_kv_heads · cache_head_bytes]; rows that no window reaches are not read
  int64_t past;
};

/**
 * Attention over a cache: row i attends to the last `window` of the cache rows [0, past) and the new rows [0, i]. New
 * rows are read as the cache's format stores them. A row's arithmetic depends on its own keys only, so a token gives
 * the same bits alone or in a block, its predecessors cached or new.
 *
 * @param[in] q [n_rows, num_heads · head_dim]
 * @param[in] k_new,v_new [n_rows, num_kv_heads · head_dim]
 * @param[out] out [n_rows, num_heads · head_dim]
 */
void attention_cached(const float* q, const float* k_new, const float* v_new, const KvCacheRows& cache,
                      const AttentionShape& shape, float* out);
/** The same with the kernel for one instruction set. */
void attention_cached(const float* q, const float* k_new, const float* v_new, const KvCacheRows& cache,
                      const AttentionShape& shape, float* out, Isa isa);

/** Query vectors that share one reading of the keys and values. */
inline constexpr int64_t kAttentionTile = 4;
/** Keys whose gradients are accumulated in the fast cache at a time. */
inline constexpr int64_t kAttentionKeyBlock = 32;

/**
 * One key/value head's work on the rows [row_begin, row_end) of a block. Pointers are at the block's first row of the
 * head, those of queries at the first head of its group.
 */
struct AttentionRows {
  const float* q;  ///< rows q_stride apart, heads of the group head_dim apart
  CacheFormat format;
  const uint8_t *k, *v;              ///< new keys and values in that format, rows kv_bytes apart
  const uint8_t *k_cache, *v_cache;  ///< the same of the rows before; not read when past is 0
  float* out;                        ///< as q
  float* lse;                        ///< rows lse_stride apart, heads 1 apart; or null
  float* scores;                     ///< scratch, attention_scores floats
  int64_t past, row_begin, row_end, group, head_dim, q_stride, kv_bytes, lse_stride, window;
  float scale, softcap;

  /** The first key that a new row sees, counted from the first cached one. */
  int64_t first_key(int64_t row) const {
    const int64_t seen = past + row + 1;
    return window > 0 && seen > window ? seen - window : 0;
  }
};

/** @return the floats of scratch that the rows up to row_end need: a tile's scores of all keys that it sees. */
inline int64_t attention_scores(int64_t past, int64_t row_end, int64_t window) {
  const int64_t keys = past + row_end, seen = window + kAttentionTile;
  return kAttentionTile * (window > 0 && seen < keys ? seen : keys);
}

/** One key/value head's gradients inside one segment of n_rows rows. Pointers are at the segment's first row, as above.
 */
struct AttentionGradRows {
  const float *dout, *q, *out;  ///< rows q_stride apart, heads of the group head_dim apart
  const float *k, *v;           ///< rows kv_stride apart
  const float* lse;             ///< rows lse_stride apart, heads 1 apart
  float* dq;                    ///< as q
  float *dk, *dv;               ///< as k
  float* scratch;               ///< attention_grad_scratch floats
  int64_t n_rows, group, head_dim, q_stride, kv_stride, lse_stride, window;
  float scale, softcap;
};

/** @return the floats of scratch that one key/value head's gradients need: dense copies of k, v, dk and dv, and a tile.
 */
inline int64_t attention_grad_scratch(int64_t n_rows, int64_t group, int64_t head_dim) {
  return 4 * n_rows * head_dim + n_rows * group + 2 * kAttentionTile * kAttentionKeyBlock;
}

/** One instruction set's implementation. */
struct AttentionKernel {
  void (*forward)(const AttentionRows& rows);
  void (*backward)(const AttentionGradRows& rows);
  void (*store)(CacheFormat format, const float* head, int64_t head_dim, uint8_t* stored);
};

#define PL_KERNEL(isa, forward, backward, store) \
  void forward(const AttentionRows&);            \
  void backward(const AttentionGradRows&);       \
  void store(CacheFormat, const float*, int64_t, uint8_t*);
#include "kernels/attention/kernels.inc"
#undef PL_KERNEL

}  // namespace pocketlora
