#include <cstring>

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
  pl_batch copy = {};
  PL_RETURN_IF_ERROR(read_struct(&batch, name, &copy));
  if (copy.struct_size < sizeof(pl_batch) || copy.tokens == nullptr || copy.labels == nullptr ||
      copy.segments == nullptr) {
    return error(PL_INVALID_ARGUMENT, "%s: tokens, labels and segments must not be null", name);
  }
  return BatchView{Span<const int64_t>(copy.tokens, copy.num_tokens), Span<const int64_t>(copy.labels, copy.num_tokens),
                   Span<const int64_t>(copy.segments, copy.num_segments + 1)};
}

}  // namespace pocketlora

uint32_t pl_abi_version(void) { return PL_ABI_VERSION; }
const char* pl_version(void) { return POCKETLORA_VERSION; }
const char* pl_status_name(pl_status status) { return pocketlora::status_name(status); }
const char* pl_last_error(void) { return pocketlora::last_error().c_str(); }
