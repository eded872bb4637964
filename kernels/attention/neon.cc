#include "kernels/attention/generic.h"
#include "kernels/common/vec_neon.h"

namespace pocketlora {

void attention_rows_neon(const AttentionRows& rows) { vec::attention_rows<vec::Neon>(rows); }

void attention_grad_rows_neon(const AttentionGradRows& rows) { vec::attention_grad_rows<vec::Neon>(rows); }

}  // namespace pocketlora
