#include "kernels/attention/generic.h"
#include "kernels/attention/stored_rows.h"
#include "kernels/common/vec_neon.h"

namespace pocketlora {

void attention_rows_neon(const AttentionRows& rows) { vec::attention_rows<vec::Neon>(rows); }

void attention_grad_rows_neon(const AttentionGradRows& rows) { vec::attention_grad_rows<vec::Neon>(rows); }

void store_cache_head_neon(CacheFormat format, const float* head, int64_t head_dim, uint8_t* stored) {
  vec::store_cache_head<vec::Neon>(format, head, head_dim, stored);
}

}  // namespace pocketlora
