#include "kernels/rope/rope.h"

#include <cmath>

#include "kernels/common/parallel.h"

namespace pocketlora {
namespace {

constexpr KernelEntry<RopeKernel> kKernels[] = {
#define PL_KERNEL(isa, function) {Isa::isa, #function, function},
#include "kernels/rope/kernels.inc"
#undef PL_KERNEL
};

constexpr int64_t kRowsPerTask = 8;

}  // namespace

void rope_table(const int64_t* positions, const float* inv_freq, float scaling, int64_t n_rows, int64_t half,
                float* table) {
  parallel_for(0, n_rows, kRowsPerTask, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const float position = static_cast<float>(positions[i]);
      float* row = table + i * 2 * half;
      for (int64_t j = 0; j < half; ++j) {
        const float angle = position * inv_freq[j];
        row[j] = scaling * std::cos(angle);
        row[half + j] = scaling * std::sin(angle);
      }
    }
  });
}

void rope(const float* x, const float* table, const RopeShape& shape, bool inverse, float* y, Isa isa) {
  const RopeKernel kernel = select_kernel(kKernels, isa);
  const int64_t width = shape.num_heads * shape.head_dim;
  parallel_for(0, shape.n_rows, kRowsPerTask, [&](int64_t begin, int64_t end) {
    const RopeShape part{end - begin, shape.num_heads, shape.head_dim, shape.rotary_dim};
    kernel(x + begin * width, table + begin * shape.rotary_dim, part, inverse, y + begin * width);
  });
}

void rope(const float* x, const float* table, const RopeShape& shape, bool inverse, float* y) {
  rope(x, table, shape, inverse, y, active_isa());
}

}  // namespace pocketlora
