#include <cstddef>
#include <string>

#include "capi/capi.h"

namespace pocketlora {
namespace {

std::string& last_error() {
  thread_local std::string message;
  return message;
}

}  // namespace

pl_status report(const Status& status) {
  if (!status.ok()) last_error() = status.message();
  return status.code();
}

pl_status report_null(const char* function, const char* name) {
  return report(error(PL_INVALID_ARGUMENT, "%s: %s must not be null", function, name));
}

Result<std::vector<WeightedAdapter>> weighted_adapters(const pl_adapter_ref* refs, size_t n) {
  if (refs == nullptr && n > 0) return error(PL_INVALID_ARGUMENT, "refs must not be null when n is %zu", n);
  std::vector<WeightedAdapter> adapters;
  for (size_t i = 0; i < n; ++i) {
    if (refs[i].adapter == nullptr) return error(PL_INVALID_ARGUMENT, "refs[%zu].adapter must not be null", i);
    adapters.push_back({refs[i].adapter->adapter, refs[i].weight});
  }
  return adapters;
}

Result<BatchView> batch_view(const pl_batch& batch, const char* name) {
  // Every field of the first version: there is no batch without them.
  constexpr size_t kRequired = offsetof(pl_batch, num_segments) + sizeof(batch.num_segments);
  if (batch.struct_size < kRequired) {
    return error(PL_INVALID_ARGUMENT, "%s.struct_size: expected %zu, found %zu: set it before the call", name,
                 sizeof(pl_batch), batch.struct_size);
  }
  pl_batch copy = {};
  PL_RETURN_IF_ERROR(read_struct(&batch, name, &copy));
  if (copy.tokens == nullptr || copy.labels == nullptr || copy.segments == nullptr) {
    return error(PL_INVALID_ARGUMENT, "%s: tokens, labels and segments must not be null", name);
  }
  return BatchView{Span<const int64_t>(copy.tokens, copy.num_tokens), Span<const int64_t>(copy.labels, copy.num_tokens),
                   Span<const int64_t>(copy.segments, copy.num_segments + 1)};
}

Result<std::vector<BatchView>> batch_views(const pl_batch* batches, size_t n, const char* name) {
  std::vector<BatchView> views;
  for (size_t i = 0; i < n; ++i) {
    // The first element was accepted before the second is looked for by its size.
    const size_t stride = batches->struct_size;
    const std::string element = std::string(name) + "[" + std::to_string(i) + "]";
    const auto* batch = reinterpret_cast<const pl_batch*>(reinterpret_cast<const char*>(batches) + i * stride);
    if (batch->struct_size != stride || stride % alignof(pl_batch) != 0) {
      return error(PL_INVALID_ARGUMENT,
                   "%s.struct_size: expected the size of every element of the array, %zu, found %zu", element.c_str(),
                   i == 0 ? sizeof(pl_batch) : stride, batch->struct_size);
    }
    PL_ASSIGN_OR_RETURN(views.emplace_back(), batch_view(*batch, element.c_str()));
  }
  return views;
}

}  // namespace pocketlora

uint32_t pl_abi_version(void) { return PL_ABI_VERSION; }
const char* pl_version(void) { return POCKETLORA_VERSION; }
const char* pl_status_name(pl_status status) { return pocketlora::status_name(status); }
const char* pl_last_error(void) { return pocketlora::last_error().c_str(); }
