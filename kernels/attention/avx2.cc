#include "kernels/common/simd_avx2.h"
#include "kernels/attention/simd.h"

namespace pocketlora {

void attention_rows_avx2(const AttentionRows& rows) { simd::attention_rows<simd::Avx2>(rows); }

void attention_grad_rows_avx2(const AttentionGradRows& rows) { simd::attention_grad_rows<simd::Avx2>(rows); }

}  // namespace pocketlora
