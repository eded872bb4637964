#include "kernels/attention/generic.h"
#include "kernels/common/vec_avx512.h"

namespace pocketlora {

void attention_rows_avx512(const AttentionRows& rows) { vec::attention_rows<vec::Avx512>(rows); }

void attention_grad_rows_avx512(const AttentionGradRows& rows) { vec::attention_grad_rows<vec::Avx512>(rows); }

}  // namespace pocketlora
