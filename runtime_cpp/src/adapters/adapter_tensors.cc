#include "adapters/adapter_tensors.h"

#include <algorithm>
#include <cstring>

namespace pocketlora {
namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kFloatsPerLine = kAlignment / sizeof(float);

// Adds rows x cols elements, rounded up to whole cache lines, to *total. false on overflow.
bool reserve(int64_t rows, int64_t cols, size_t* total) {
  size_t count = 0;
  if (__builtin_mul_overflow(static_cast<size_t>(rows), static_cast<size_t>(cols), &count)) return false;
  if (__builtin_add_overflow(count, kFloatsPerLine - 1, &count)) return false;
  return !__builtin_add_overflow(*total, count / kFloatsPerLine * kFloatsPerLine, total);
}

}  // namespace

Result<AdapterTensors> AdapterTensors::allocate(const AdapterLayout& layout, const std::vector<int64_t>& ranks) {
  struct Offsets {
    size_t a, b, scale;
  };
  std::vector<Offsets> offsets(layout.sites.size());
  AdapterTensors tensors;
  bool fits = true;
  for (size_t i = 0; i < layout.sites.size(); ++i) {
    offsets[i].a = tensors.num_parameters_;
    fits = fits && reserve(ranks[i], layout.sites[i].in_features, &tensors.num_parameters_);
    offsets[i].b = tensors.num_parameters_;
    fits = fits && reserve(layout.sites[i].out_features, ranks[i], &tensors.num_parameters_);
    offsets[i].scale = tensors.num_scales_;
    fits = fits && reserve(ranks[i], 1, &tensors.num_scales_);
  }
  // One line more, so that the pointers of unused sites stay inside the allocation.
  size_t bytes = 0;
  fits = fits && !__builtin_add_overflow(tensors.num_parameters_, tensors.num_scales_ + kFloatsPerLine, &bytes) &&
         !__builtin_mul_overflow(bytes, sizeof(float), &bytes);
  void* memory = nullptr;
  if (!fits || ::posix_memalign(&memory, kAlignment, bytes) != 0) {
    return error(PL_OUT_OF_MEMORY, "no memory for an adapter's tensors (%zu bytes)", bytes);
  }
  std::memset(memory, 0, bytes);
  tensors.storage_.reset(static_cast<float*>(memory));
  float* scales = tensors.storage_.get() + tensors.num_parameters_;
  for (size_t i = 0; i < layout.sites.size(); ++i) {
    float* base = tensors.storage_.get();
    tensors.sites_.push_back({ranks[i], base + offsets[i].a, base + offsets[i].b, scales + offsets[i].scale});
  }
  return tensors;
}

void AdapterTensors::copy_from(const AdapterTensors& other) {
  std::copy_n(other.storage_.get(), num_parameters_ + num_scales_, storage_.get());
}

}  // namespace pocketlora
