#include "kernels/common/simd_neon.h"
#include "kernels/attention/simd.h"

namespace pocketlora {

void attention_rows_neon(const AttentionRows& rows) { simd::attention_rows<simd::Neon>(rows); }

void attention_grad_rows_neon(const AttentionGradRows& rows) { simd::attention_grad_rows<simd::Neon>(rows); }

}  // namespace pocketlora
