#include "kernels/attention/generic.h"
#include "kernels/attention/stored_rows.h"
#include "kernels/common/vec_avx2.h"

namespace pocketlora {

void attention_rows_avx2(const AttentionRows& rows) { vec::attention_rows<vec::Avx2>(rows); }

void attention_grad_rows_avx2(const AttentionGradRows& rows) { vec::attention_grad_rows<vec::Avx2>(rows); }

void store_cache_head_avx2(CacheFormat format, const float* head, int64_t head_dim, uint8_t* stored) {
  vec::store_cache_head<vec::Avx2>(format, head, head_dim, stored);
}

}  // namespace pocketlora
