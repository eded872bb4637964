#include "kernels/attention/generic.h"
#include "kernels/common/vec_avx2.h"

namespace pocketlora {

void attention_rows_avx2(const AttentionRows& rows) { vec::attention_rows<vec::Avx2>(rows); }

void attention_grad_rows_avx2(const AttentionGradRows& rows) { vec::attention_grad_rows<vec::Avx2>(rows); }

}  // namespace pocketlora
