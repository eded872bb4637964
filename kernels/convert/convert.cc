#include "kernels/convert/convert.h"

#include <atomic>
#include <cstring>

#include "kernels/common/parallel.h"

namespace pocketlora {
namespace {

constexpr KernelEntry<ConvertKernel> kKernels[] = {
#define PL_KERNEL(isa, name) \
  {Isa::isa, #name, {to_half_##name, from_half_##name, to_bfloat16_##name, from_bfloat16_##name}},
#include "kernels/convert/kernels.inc"
#undef PL_KERNEL
};

// Values that are worth another thread.
constexpr int64_t kGrain = 65536;

}  // namespace

bool store_floats(FloatFormat format, const float* in, void* out, int64_t n, Isa isa) {
  const ConvertKernel& kernel = select_kernel(kKernels, isa);
  const auto store = format == FloatFormat::kBfloat16 ? kernel.to_bfloat16 : kernel.to_half;
  std::atomic<bool> finite{true};
  parallel_for(0, n, kGrain, [&](int64_t begin, int64_t end) {
    if (format == FloatFormat::kFloat32) {
      std::memcpy(static_cast<float*>(out) + begin, in + begin, static_cast<size_t>(end - begin) * sizeof(float));
      for (int64_t i = begin; i < end; ++i) {
        uint32_t bits;
        std::memcpy(&bits, in + i, sizeof(bits));
        if ((bits & 0x7F800000u) == 0x7F800000u) finite.store(false);
      }
    } else if (!store(in + begin, static_cast<uint16_t*>(out) + begin, end - begin)) {
      finite.store(false);
    }
  });
  return finite.load();
}

bool store_floats(FloatFormat format, const float* in, void* out, int64_t n) {
  return store_floats(format, in, out, n, active_isa());
}

void load_floats(FloatFormat format, const void* in, float* out, int64_t n, Isa isa) {
  const ConvertKernel& kernel = select_kernel(kKernels, isa);
  const auto load = format == FloatFormat::kBfloat16 ? kernel.from_bfloat16 : kernel.from_half;
  parallel_for(0, n, kGrain, [&](int64_t begin, int64_t end) {
    if (format == FloatFormat::kFloat32) {
      std::memcpy(out + begin, static_cast<const float*>(in) + begin, static_cast<size_t>(end - begin) * sizeof(float));
    } else {
      load(static_cast<const uint16_t*>(in) + begin, out + begin, end - begin);
    }
  });
}

void load_floats(FloatFormat format, const void* in, float* out, int64_t n) {
  load_floats(format, in, out, n, active_isa());
}

}  // namespace pocketlora
